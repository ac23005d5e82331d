rule train_detector:
    input:
        samples=lambda wildcards: expand(
            "data/samples/{dataset}.parquet",
            dataset=EXPERIMENTS[wildcards.experiment]["train"],
        ),
        store=lambda wildcards: [
            path
            for stage in FAMILIES[EXPERIMENTS[wildcards.experiment]["detector"]].reads
            for path in stage_shards(stage, EXPERIMENTS[wildcards.experiment]["train"])
        ],
        # only that it has passed: a test set added later trains nothing
        leakage=ancient("results/{experiment}/leakage.csv"),
    output:
        detector="results/{experiment}/seed{seed}/detector.ckpt",
        summary="results/{experiment}/seed{seed}/summary.json",
        validation="results/{experiment}/seed{seed}/validation.parquet",
    log:
        "logs/train/{experiment}/seed{seed}.log",
    benchmark:
        "logs/benchmarks/train/{experiment}/seed{seed}.tsv"
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    threads: 8
    resources:
        gpu=lambda wildcards: json.loads(
            EXPERIMENTS[wildcards.experiment]["settings"]
        ).get("gpus", 1),
        mem_mb=growing(16000),
        # no more for another try: it goes on from its last checkpoint, and few clusters allow more than a day
        runtime=1440,
    params:
        version=versions.TRAIN,
        detector=of_experiment("detector"),
        settings=of_experiment("settings"),
    message:
        "Training {wildcards.experiment}, seed {wildcards.seed}; follow it with: tail -f {log}"
    shell:
        "python -m detectors.train --experiment {wildcards.experiment} --detector {params.detector}"
        " --seed {wildcards.seed} --samples {input.samples} --data data --settings {params.settings:q}"
        " --output {output.detector} --summary {output.summary} --validation {output.validation}"
        " --logs results/{wildcards.experiment}/seed{wildcards.seed}/logs --threads {threads} 2> {log}"
