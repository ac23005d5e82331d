# Two rules a data set. Looking at the raw folder may take hours and ends in one table; cutting it into a list for each
# shard takes seconds, and only the lists are read below. So a scan that fails or is killed leaves the lists, and all
# that was made of them, as they are; and after one that ends well, Snakemake compares lists by content, so that those
# of shards in which nothing has changed rerun nothing.
for dataset in DATASETS:

    rule:
        name:
            scan_rule(dataset)
        input:
            [f"data/synthetic/{dataset}/manifest.json"]
            if "synthetic" in config["datasets"][dataset]
            else [],
        output:
            f"data/index/{dataset}.parquet",
        log:
            f"logs/index/{dataset}.log",
        benchmark:
            f"logs/benchmarks/index/{dataset}.tsv"
        conda:
            "../../envs/preprocess.yaml"
        threads: 4
        resources:
            mem_mb=scaled_by_attempt(4000),
            runtime=scaled_by_attempt(480),
            video_seconds=VIDEO_SECONDS,
            # not parameters: other values rerun nothing; text, since numbers are rounded
            max_lost_share=str(DATASETS[dataset]["max_lost_share"]),
            accept_smaller=DATASETS[dataset]["accept_smaller"],
        params:
            **index_params(dataset),
        message:
            f"Indexing the videos of {dataset}"
        shell:
            "python -m preprocess.index --dataset {params.dataset} --layout {params.layout} --root {params.root:q}"
            " --n-shards {params.n_shards} --settings {params.index:q} --output {output}"
            " --workers {threads} --video-seconds {resources.video_seconds}"
            " --max-lost-share {resources.max_lost_share} --accept-smaller {resources.accept_smaller} 2> {log}"

    rule:
        name:
            lists_rule(dataset)
        input:
            f"data/index/{dataset}.parquet",
        output:
            stage_shards("index", [dataset]),
        log:
            f"logs/index/{dataset}.lists.log",
        # before other scans: lists older than their table would all count as changed in a later call
        priority: 1
        localrule: True
        conda:
            "../../envs/preprocess.yaml"
        params:
            **index_params(dataset),
        message:
            f"Listing the videos of {dataset} by shard"
        shell:
            "python -m preprocess.store.shard_lists --index {input} --n-shards {params.n_shards}"
            " --output data/index/{params.dataset} 2> {log}"


rule index:
    input:
        expand("data/index/{dataset}.parquet", dataset=DATASETS),
        stage_shards("index", DATASETS),
