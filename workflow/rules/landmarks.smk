rule detect_landmarks:
    input:
        crops="data/crops/{dataset}/{shard}.h5",
        predictor=of_dataset("predictor_input"),
    output:
        "data/landmarks/{dataset}/{shard}.parquet",
    log:
        "logs/landmarks/{dataset}/{shard}.log",
    benchmark:
        "logs/benchmarks/landmarks/{dataset}/{shard}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=growing(6000),
        runtime=growing(30),
    params:
        version=versions.LANDMARKS,
        predictor=of_dataset("predictor"),
        settings=of_dataset("landmarks"),
    message:
        "Finding landmarks of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.landmarks --crops {input.crops} --predictor {params.predictor:q} --output {output}"
        " --settings {params.settings:q} --threads {threads} 2> {log}"
