# Not part of `all`: the sweep scores its samples once for every distortion and strength.
ROBUSTNESS = robustness_settings(config)


rule predict_distorted:
    input:
        detector="results/{experiment}/seed{seed}/detector.ckpt",
        samples="data/samples/{dataset}.parquet",
        crops=lambda wildcards: stage_shards("crops", [wildcards.dataset]),
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
        mem_mb=growing(16000),
        runtime=growing(480),
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
        predictions=lambda wildcards: expand(
            "results/{experiment}/seed{seed}/robustness/{dataset}.parquet",
            experiment=wildcards.experiment,
            dataset=EXPERIMENTS[wildcards.experiment]["test"],
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
        validation=lambda wildcards: expand(
            "results/{experiment}/seed{seed}/validation.parquet",
            experiment=wildcards.experiment,
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
    output:
        table="results/{experiment}/robustness.csv",
        page=report(
            "results/{experiment}/tables/robustness.html",
            caption="../report/robustness.rst",
            category="Robustness",
            labels={"experiment": "{experiment}", "what": "table"},
        ),
        figure=report(
            "results/{experiment}/figures/robustness.png",
            caption="../report/robustness.rst",
            category="Robustness",
            labels={"experiment": "{experiment}", "what": "AUC against strength"},
        ),
        vector="results/{experiment}/figures/robustness.svg",
    log:
        "logs/robustness/{experiment}.log",
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        version=versions.ROBUSTNESS,
        train=of_experiment("train"),
        settings=of_experiment("evaluate"),
    message:
        "Measuring what {wildcards.experiment} loses under distortions"
    shell:
        "python -m detectors.evaluation.robustness --train {params.train} --predictions {input.predictions}"
        " --validation {input.validation} --settings {params.settings:q} --output {output.table}"
        " --figure results/{wildcards.experiment}/figures/robustness 2> {log}"
