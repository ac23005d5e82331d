# Not part of `all`: the sweep scores its samples once for every distortion and strength.
ROBUSTNESS = robustness_settings(config)


rule predict_distorted:
    input:
        detector="results/{experiment}/seed{seed}/detector.ckpt",
        samples="data/samples/{dataset}.parquet",
        crops=dataset_shards("crops"),
    output:
        "results/{experiment}/seed{seed}/robustness/{dataset}.parquet",
    log:
        "logs/robustness/{experiment}/seed{seed}/{dataset}.log",
    benchmark:
        "logs/benchmarks/robustness/{experiment}/seed{seed}/{dataset}.tsv"
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=scaled_by_attempt(16000),
        runtime=scaled_by_attempt(480),
    params:
        version=versions.ROBUSTNESS,
        # a function, since Snakemake takes braces in a text for wildcards
        settings=lambda wildcards: ROBUSTNESS,
    message:
        "Scoring {wildcards.dataset} distorted, with {wildcards.experiment}, seed {wildcards.seed}"
    shell:
        "python -m detectors.evaluation.predict_distorted --checkpoint {input.detector} --samples {input.samples} --data data"
        " --settings {params.settings:q} --output {output} --threads {threads} 2> {log}"


rule measure_robustness:
    input:
        predictions=experiment_files(
            "results/{experiment}/seed{seed}/robustness/{dataset}.parquet"
        ),
        validation=experiment_files(
            "results/{experiment}/seed{seed}/validation.parquet"
        ),
    output:
        table="results/{experiment}/robustness.csv",
        page=page("robustness", "table", "Robustness"),
        figure=figure("robustness", "AUC against strength", "Robustness"),
        vector=vectors("robustness"),
    log:
        "logs/robustness/{experiment}.log",
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=scaled_by_attempt(8000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.ROBUSTNESS,
        train=experiment_value("train"),
        settings=experiment_value("evaluate"),
    message:
        "Measuring what {wildcards.experiment} loses under distortions"
    shell:
        "python -m detectors.evaluation.robustness --train {params.train} --predictions {input.predictions}"
        " --validation {input.validation} --settings {params.settings:q} --output {output.table}"
        " --figure results/{wildcards.experiment}/figures/robustness 2> {log}"
