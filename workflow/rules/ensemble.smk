# An experiment that names others has no training: its files are means of theirs.


rule average_predictions:
    input:
        experiment_files("results/{member}/seed{seed}/predictions/{dataset}.parquet"),
    output:
        "results/{experiment}/seed{seed}/predictions/{dataset}.parquet",
    log:
        "logs/predict/{experiment}/seed{seed}/{dataset}.log",
    wildcard_constraints:
        experiment=one_of(ENSEMBLES),
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(30),
    params:
        version=versions.PREDICT,
    message:
        "Averaging what the members of {wildcards.experiment} say of {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m detectors.ensemble --experiment {wildcards.experiment} --members {input} --output {output} 2> {log}"


use rule average_predictions as average_validation with:
    input:
        experiment_files("results/{member}/seed{seed}/validation.parquet"),
    output:
        "results/{experiment}/seed{seed}/validation.parquet",
    log:
        "logs/predict/{experiment}/seed{seed}.validation.log",
    message:
        "Averaging what the members of {wildcards.experiment} say of their validation samples, seed {wildcards.seed}"


use rule average_predictions as average_distorted with:
    input:
        experiment_files("results/{member}/seed{seed}/robustness/{dataset}.parquet"),
    output:
        "results/{experiment}/seed{seed}/robustness/{dataset}.parquet",
    log:
        "logs/robustness/{experiment}/seed{seed}/{dataset}.log",
    params:
        version=versions.ROBUSTNESS,
    message:
        "Averaging what the members of {wildcards.experiment} say of {wildcards.dataset} distorted, seed {wildcards.seed}"
