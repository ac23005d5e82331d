rule collect_samples:
    input:
        lists=dataset_shards("index"),
        frames=dataset_shards("frames"),
        faces=dataset_shards("faces"),
        crops=dataset_shards("crops"),
        landmarks=dataset_shards("landmarks"),
        masks=dataset_shards("masks"),
    output:
        samples="data/samples/{dataset}.parquet",
        ledger="data/samples/{dataset}.ledger.parquet",
    log:
        "logs/samples/{dataset}.log",
    benchmark:
        "logs/benchmarks/samples/{dataset}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 1
    resources:
        mem_mb=scaled_by_attempt(8000),
        runtime=scaled_by_attempt(60),
        # not a parameter: another limit reruns nothing; text, since numbers are rounded
        max_lost_share=lambda wildcards: str(
            DATASETS[wildcards.dataset]["max_lost_share"]
        ),
    params:
        version=versions.SAMPLES,
        n_shards=dataset_value("n_shards"),
    message:
        "Collecting samples and the ledger of {wildcards.dataset}"
    shell:
        "python -m preprocess.samples --data data --dataset {wildcards.dataset} --n-shards {params.n_shards}"
        " --output {output.samples} --ledger {output.ledger} --max-lost-share {resources.max_lost_share}"
        " --lost logs/samples/{wildcards.dataset}.lost.csv 2> {log}"


rule samples:
    input:
        expand("data/samples/{dataset}.parquet", dataset=DATASETS),
