rule detect_landmarks:
    input:
        crops="data/crops/{dataset}/{shard}.h5",
        predictor=dataset_value("predictor_input"),
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
        mem_mb=scaled_by_attempt(6000),
        runtime=scaled_by_attempt(30),
    params:
        version=versions.LANDMARKS,
        predictor=dataset_value("predictor"),
        settings=dataset_value("landmarks"),
    message:
        "Finding landmarks of {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m preprocess.landmarks --crops {input.crops} --predictor {params.predictor:q} --output {output}"
        " --settings {params.settings:q} --threads {threads} 2> {log}"
