rule crop_faces:
    input:
        videos="data/index/{dataset}/{shard}.parquet",
        faces="data/faces/{dataset}/{shard}.parquet",
    output:
        "data/crops/{dataset}/{shard}.h5",
    log:
        "logs/crops/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/crops/{dataset}/{shard}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 4
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(120),
        video_seconds=VIDEO_SECONDS,
    params:
        version=versions.CROPS,
        root=dataset_value("root"),
        settings=dataset_value("crops"),
    message:
        "Cutting face crops of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.crops --list {input.videos} --faces {input.faces} --root {params.root:q}"
        " --output {output} --settings {params.settings:q} --workers {threads}"
        " --video-seconds {resources.video_seconds} 2> {log}"
