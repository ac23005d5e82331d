rule predict_dataset:
    input:
        detector="results/{experiment}/seed{seed}/detector.ckpt",
        samples="data/samples/{dataset}.parquet",
        crops=dataset_shards("crops"),
    output:
        "results/{experiment}/seed{seed}/predictions/{dataset}.parquet",
    log:
        "logs/predict/{experiment}/seed{seed}/{dataset}.log",
    benchmark:
        "logs/benchmarks/predict/{experiment}/seed{seed}/{dataset}.tsv"
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=scaled_by_attempt(16000),
        runtime=scaled_by_attempt(240),
    params:
        version=versions.PREDICT,
    message:
        "Scoring {wildcards.dataset} with {wildcards.experiment}, seed {wildcards.seed}"
    shell:
        "python -m detectors.predict --checkpoint {input.detector} --samples {input.samples} --data data"
        " --split test --output {output} --threads {threads} 2> {log}"
