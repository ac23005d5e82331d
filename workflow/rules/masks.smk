rule make_masks:
    input:
        videos="data/index/{dataset}/{shard}.parquet",
        crops="data/crops/{dataset}/{shard}.h5",
        landmarks="data/landmarks/{dataset}/{shard}.parquet",
    output:
        "data/masks/{dataset}/{shard}.h5",
    log:
        "logs/masks/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/masks/{dataset}/{shard}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 4
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(60),
        video_seconds=VIDEO_SECONDS,
    params:
        version=versions.MASKS,
        root=dataset_value("root"),
        settings=dataset_value("masks"),
    message:
        "Making masks of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.masks --list {input.videos} --crops {input.crops} --landmarks {input.landmarks}"
        " --root {params.root:q} --output {output} --settings {params.settings:q} --workers {threads}"
        " --video-seconds {resources.video_seconds} 2> {log}"
