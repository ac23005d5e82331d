rule check_leakage:
    input:
        lambda wildcards: expand(
            "data/index/{dataset}.parquet",
            dataset=experiment_datasets(wildcards.experiment),
        ),
    output:
        "results/{experiment}/leakage.csv",
    log:
        "logs/leakage/{experiment}.log",
    # before anything is decoded for an experiment that cannot be
    priority: 1
    localrule: True
    conda:
        "../../envs/detectors.yaml"
    params:
        version=versions.LEAKAGE,
        train=of_experiment("train"),
        test=of_experiment("test"),
        allowed=lambda wildcards: EXPERIMENTS[wildcards.experiment].get(
            "allow_leakage", []
        ),
        layouts=lambda wildcards: settings_json(
            {
                dataset: DATASETS[dataset]["layout"]
                for dataset in experiment_datasets(wildcards.experiment)
            }
        ),
    message:
        "Comparing the test videos of {wildcards.experiment} with its training videos"
    shell:
        "python -m detectors.leakage --experiment {wildcards.experiment} --index {input} --layouts {params.layouts:q}"
        " --train {params.train} --test {params.test} --allow {params.allowed} --output {output} 2> {log}"
