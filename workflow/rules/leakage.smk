rule check_leakage:
    input:
        experiment_shards(("index",), "datasets"),
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
        train=experiment_value("train"),
        test=experiment_value("test"),
        allowed=experiment_value("allow_leakage"),
        datasets=lambda wildcards: settings_json(
            {
                dataset: {
                    key: DATASETS[dataset][key] for key in ("layout", "n_shards")
                }
                for dataset in experiment_value("datasets")(wildcards)
            }
        ),
    message:
        "Comparing the test videos of {wildcards.experiment} with its training videos"
    shell:
        "python -m detectors.evaluation.leakage --experiment {wildcards.experiment} --index data/index --datasets {params.datasets:q}"
        " --train {params.train} --test {params.test} --allow {params.allowed} --output {output} 2> {log}"
