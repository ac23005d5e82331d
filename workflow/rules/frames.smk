rule sample_frames:
    input:
        videos="data/index/{dataset}/{shard}.parquet",
    output:
        "data/frames/{dataset}/{shard}.parquet",
    log:
        "logs/frames/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/frames/{dataset}/{shard}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 2
    resources:
        mem_mb=scaled_by_attempt(2000),
        runtime=scaled_by_attempt(30),
        video_seconds=VIDEO_SECONDS,
    params:
        version=versions.FRAMES,
        root=dataset_value("root"),
        settings=dataset_value("frames"),
    message:
        "Sampling frames of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.frames --list {input.videos} --root {params.root:q} --output {output}"
        " --settings {params.settings:q} --workers {threads}"
        " --video-seconds {resources.video_seconds} 2> {log}"
