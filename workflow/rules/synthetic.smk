# Rendered collections with known truth, and the landmark predictor trained on drawn faces.
rule make_synthetic:
    output:
        manifest="data/synthetic/{dataset}/manifest.json",
        truth="data/synthetic/{dataset}/truth.parquet",
        masks="data/synthetic/{dataset}/masks.h5",
    log:
        "logs/synthetic/{dataset}.log",
    benchmark:
        "logs/benchmarks/synthetic/{dataset}.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 4
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.SYNTHETIC,
        layout=dataset_value("layout"),
        root=dataset_value("root"),
        settings=dataset_value("synthetic"),
    message:
        "Rendering the synthetic collection {wildcards.dataset}"
    shell:
        "python -m preprocess.synthetic --layout {params.layout} --root {params.root:q} --truth $(dirname {output.truth})"
        " --manifest {output.manifest} --settings {params.settings:q} --threads {threads} 2> {log}"


rule train_predictor:
    output:
        "data/predictor/synthetic_81.dat",
    log:
        "logs/predictor.log",
    benchmark:
        "logs/benchmarks/predictor.tsv"
    conda:
        "../../envs/preprocess.yaml"
    threads: 4
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.PREDICTOR,
    message:
        "Training the landmark predictor of the synthetic collections"
    shell:
        "python -m preprocess.train_predictor --output {output} --threads {threads} 2> {log}"
