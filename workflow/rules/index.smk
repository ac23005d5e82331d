# One rule a data set, because the number of its shards, hence of outputs, stands in its own block.
for dataset in DATASETS:

    rule:
        name:
            f"index_videos_{dataset}"
        input:
            [f"data/synthetic/{dataset}/manifest.json"]
            if "synthetic" in config["datasets"][dataset]
            else [],
        output:
            table=f"data/index/{dataset}.parquet",
            lists=expand(
                "data/index/{dataset}/{shard}.parquet",
                dataset=dataset,
                shard=DATASETS[dataset]["shards"],
            ),
        log:
            f"logs/index/{dataset}.log",
        benchmark:
            f"logs/benchmarks/index/{dataset}.tsv"
        conda:
            "../../envs/preprocess.yaml"
        threads: 4
        resources:
            mem_mb=growing(4000),
            runtime=growing(240),
            video_seconds=VIDEO_SECONDS,
        params:
            **{
                key: DATASETS[dataset][key]
                for key in ("layout", "root", "n_shards", "index")
            },
            version=versions.INDEX,
            dataset=dataset,
        message:
            f"Indexing the videos of {dataset}"
        shell:
            "python -m preprocess.index --dataset {params.dataset} --layout {params.layout} --root {params.root:q}"
            " --n-shards {params.n_shards} --settings {params.index:q} --output {output.table}"
            " --lists data/index/{params.dataset} --workers {threads}"
            " --video-seconds {resources.video_seconds} 2> {log}"


rule index:
    input:
        expand("data/index/{dataset}.parquet", dataset=DATASETS),
