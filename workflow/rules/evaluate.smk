rule evaluate_detector:
    input:
        predictions=experiment_files(
            "results/{experiment}/seed{seed}/predictions/{dataset}.parquet"
        ),
        validation=experiment_files(
            "results/{experiment}/seed{seed}/validation.parquet"
        ),
        summaries=experiment_files("results/{member}/seed{seed}/summary.json"),
        leakage="results/{experiment}/leakage.csv",
        ledgers=experiment_files(
            "data/samples/{dataset}.ledger.parquet", role="datasets"
        ),
    output:
        table="results/{experiment}/eval.csv",
        missing="results/{experiment}/missing.csv",
        videos="results/{experiment}/videos.csv",
        record="results/{experiment}/record.json",
        scores_of_videos="results/{experiment}/video_scores.parquet",
        # what a report shows
        table_page=page("eval", "table", "Evaluation"),
        missing_page=page("missing", "missing videos", "Evaluation"),
        videos_page=page("videos", "outcomes", "Videos"),
        roc=figure("roc", "ROC", "Evaluation"),
        scores=figure("scores", "scores", "Evaluation"),
        precision_recall=figure("precision_recall", "precision–recall", "Evaluation"),
        thresholds=figure("thresholds", "metrics by threshold", "Evaluation"),
        confusion=figure("confusion", "confusion", "Evaluation"),
        vector=vectors("roc", "precision_recall", "scores", "thresholds", "confusion"),
    log:
        "logs/evaluate/{experiment}.log",
    benchmark:
        "logs/benchmarks/evaluate/{experiment}.tsv"
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=scaled_by_attempt(8000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.EVALUATE,
        train=experiment_value("train"),
        settings=experiment_value("evaluate"),
    message:
        "Evaluating {wildcards.experiment}"
    shell:
        "python -m detectors.evaluate --experiment {wildcards.experiment} --train {params.train}"
        " --predictions {input.predictions} --validation {input.validation} --ledgers {input.ledgers}"
        " --summaries {input.summaries} --leakage {input.leakage} --settings {params.settings:q} --output {output.table}"
        " --figures results/{wildcards.experiment}/figures 2> {log}"
