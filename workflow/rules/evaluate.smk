rule evaluate_detector:
    input:
        predictions=lambda wildcards: expand(
            "results/{experiment}/seed{seed}/predictions/{dataset}.parquet",
            experiment=wildcards.experiment,
            dataset=EXPERIMENTS[wildcards.experiment]["test"],
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
        validation=lambda wildcards: expand(
            "results/{experiment}/seed{seed}/validation.parquet",
            experiment=wildcards.experiment,
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
        summaries=lambda wildcards: expand(
            "results/{experiment}/seed{seed}/summary.json",
            experiment=EXPERIMENTS[wildcards.experiment].get(
                "ensemble", [wildcards.experiment]
            ),
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
        leakage="results/{experiment}/leakage.csv",
        ledgers=lambda wildcards: expand(
            "data/samples/{dataset}.ledger.parquet",
            dataset=experiment_datasets(wildcards.experiment),
        ),
    output:
        table="results/{experiment}/eval.csv",
        missing="results/{experiment}/missing.csv",
        videos="results/{experiment}/videos.csv",
        record="results/{experiment}/record.json",
        scores_of_videos="results/{experiment}/video_scores.parquet",
        # what a report shows
        table_page=report(
            "results/{experiment}/tables/eval.html",
            caption="../report/eval.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "table"},
        ),
        missing_page=report(
            "results/{experiment}/tables/missing.html",
            caption="../report/missing.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "missing videos"},
        ),
        videos_page=report(
            "results/{experiment}/tables/videos.html",
            caption="../report/videos.rst",
            category="Videos",
            labels={"experiment": "{experiment}", "what": "outcomes"},
        ),
        roc=report(
            "results/{experiment}/figures/roc.png",
            caption="../report/roc.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "ROC"},
        ),
        scores=report(
            "results/{experiment}/figures/scores.png",
            caption="../report/scores.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "scores"},
        ),
        precision_recall=report(
            "results/{experiment}/figures/precision_recall.png",
            caption="../report/precision_recall.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "precision–recall"},
        ),
        thresholds=report(
            "results/{experiment}/figures/thresholds.png",
            caption="../report/thresholds.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "metrics by threshold"},
        ),
        confusion=report(
            "results/{experiment}/figures/confusion.png",
            caption="../report/confusion.rst",
            category="Evaluation",
            labels={"experiment": "{experiment}", "what": "confusion"},
        ),
        vector=expand(
            "results/{{experiment}}/figures/{figure}.svg",
            figure=["roc", "precision_recall", "scores", "thresholds", "confusion"],
        ),
    log:
        "logs/evaluate/{experiment}.log",
    benchmark:
        "logs/benchmarks/evaluate/{experiment}.tsv"
    conda:
        "../../envs/detectors.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        version=versions.EVALUATE,
        train=of_experiment("train"),
        settings=of_experiment("evaluate"),
    message:
        "Evaluating {wildcards.experiment}"
    shell:
        "python -m detectors.evaluate --experiment {wildcards.experiment} --train {params.train}"
        " --predictions {input.predictions} --validation {input.validation} --ledgers {input.ledgers}"
        " --summaries {input.summaries} --leakage {input.leakage} --settings {params.settings:q} --output {output.table}"
        " --figures results/{wildcards.experiment}/figures 2> {log}"
