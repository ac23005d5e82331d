rule track_faces:
    input:
        videos="data/index/{dataset}/{shard}.parquet",
        frames="data/frames/{dataset}/{shard}.parquet",
    output:
        "data/faces/{dataset}/{shard}.parquet",
    log:
        "logs/faces/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/faces/{dataset}/{shard}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=scaled_by_attempt(8000),
        runtime=scaled_by_attempt(120),
        video_seconds=VIDEO_SECONDS,
    params:
        version=versions.FACES,
        root=dataset_value("root"),
        settings=dataset_value("faces"),
    message:
        "Tracking faces of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.faces --list {input.videos} --frames {input.frames} --root {params.root:q}"
        " --output {output} --settings {params.settings:q} --workers {threads}"
        " --video-seconds {resources.video_seconds} 2> {log}"
