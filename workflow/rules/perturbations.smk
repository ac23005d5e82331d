rule measure_perturbations:
    input:
        scores="results/{experiment}/video_scores.parquet",
        # lists rather than the index: they change only where a video has
        index=lambda wildcards: stage_shards(
            "index", EXPERIMENTS[wildcards.experiment]["test"]
        ),
    output:
        table="results/{experiment}/perturbations.csv",
        page=report(
            "results/{experiment}/tables/perturbations.html",
            caption="../report/perturbations.rst",
            category="Robustness",
            labels={
                "experiment": "{experiment}",
                "what": "errors by perturbation, table",
            },
        ),
        figure=report(
            "results/{experiment}/figures/perturbations.png",
            caption="../report/perturbations.rst",
            category="Robustness",
            labels={"experiment": "{experiment}", "what": "errors by perturbation"},
        ),
        vector="results/{experiment}/figures/perturbations.svg",
    log:
        "logs/perturbations/{experiment}.log",
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        version=versions.PERTURBATIONS,
    message:
        "Counting the errors of {wildcards.experiment} by perturbation"
    shell:
        "python -m detectors.evaluation.perturbations --scores {input.scores} --index {input.index} --output {output.table}"
        " --figure results/{wildcards.experiment}/figures/perturbations 2> {log}"
