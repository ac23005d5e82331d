rule train_detector:
    input:
        samples=experiment_files("data/samples/{dataset}.parquet", role="train"),
        store=experiment_shards("reads", "train"),
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
        gpu=experiment_value("gpus"),
        mem_mb=scaled_by_attempt(16000),
        # no more for another try: it goes on from its last checkpoint, and few clusters allow more than a day
        runtime=1440,
    params:
        version=versions.TRAIN,
        detector=experiment_value("detector"),
        settings=experiment_value("settings"),
    message:
        "Training {wildcards.experiment}, seed {wildcards.seed}; follow it with: tail -f {log}"
    shell:
        "python -m detectors.train --experiment {wildcards.experiment} --detector {params.detector}"
        " --seed {wildcards.seed} --samples {input.samples} --data data --settings {params.settings:q}"
        " --output {output.detector} --summary {output.summary} --validation {output.validation}"
        " --logs results/{wildcards.experiment}/seed{wildcards.seed}/logs --threads {threads} 2> {log}"
