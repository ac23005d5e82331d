rule measure_perturbations:
    input:
        scores="results/{experiment}/video_scores.parquet",
        # lists rather than the index: they change only where a video has
        index=experiment_shards(("index",), "test"),
    output:
        table="results/{experiment}/perturbations.csv",
        page=page("perturbations", "errors by perturbation, table", "Robustness"),
        figure=figure("perturbations", "errors by perturbation", "Robustness"),
        vector=vectors("perturbations"),
    log:
        "logs/perturbations/{experiment}.log",
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(30),
    params:
        version=versions.PERTURBATIONS,
    message:
        "Counting the errors of {wildcards.experiment} by perturbation"
    shell:
        "python -m detectors.evaluation.perturbations --scores {input.scores} --index {input.index} --output {output.table}"
        " --figure results/{wildcards.experiment}/figures/perturbations 2> {log}"
