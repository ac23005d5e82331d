# Several experiments side by side: all of the config in results/, those of a study in results/studies/<study>/.


rule cross_evaluate:
    input:
        expand("results/{experiment}/eval.csv", experiment=EXPERIMENTS),
    output:
        table="results/cross_eval.csv",
        page=report(
            "results/tables/cross_eval.html",
            caption="../report/cross_eval_table.rst",
            category="Comparison",
            labels={"experiments": "all", "what": "cross evaluation, table"},
        ),
        figure=report(
            "results/figures/cross_eval.png",
            caption="../report/cross_eval.rst",
            category="Comparison",
            labels={"experiments": "all", "what": "cross evaluation"},
        ),
        vector="results/figures/cross_eval.svg",
    log:
        "logs/cross_evaluate.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        version=versions.STUDIES,
        title="all experiments: cross evaluation",
    message:
        "Putting the evaluations side by side"
    shell:
        "python -m detectors.evaluation.cross_evaluation --evaluations {input} --title {params.title:q} --output {output.table}"
        " --figures $(dirname {output.figure}) 2> {log}"


use rule cross_evaluate as cross_evaluate_study with:
    input:
        of_study("results/{experiment}/eval.csv"),
    output:
        table="results/studies/{study}/cross_eval.csv",
        page=report(
            "results/studies/{study}/tables/cross_eval.html",
            caption="../report/cross_eval_table.rst",
            category="Comparison",
            labels={"experiments": "{study}", "what": "cross evaluation, table"},
        ),
        figure=report(
            "results/studies/{study}/figures/cross_eval.png",
            caption="../report/cross_eval.rst",
            category="Comparison",
            labels={"experiments": "{study}", "what": "cross evaluation"},
        ),
        vector="results/studies/{study}/figures/cross_eval.svg",
    log:
        "logs/studies/{study}/cross_evaluate.log",
    params:
        version=versions.STUDIES,
        title="{study}: cross evaluation",
    message:
        "Putting the evaluations of {wildcards.study} side by side"


rule compare_experiments:
    input:
        expand("results/{experiment}/video_scores.parquet", experiment=EXPERIMENTS),
    output:
        table="results/compare.csv",
        page=report(
            "results/tables/compare.html",
            caption="../report/compare.rst",
            category="Comparison",
            labels={"experiments": "all", "what": "DeLong tests"},
        ),
    log:
        "logs/compare_experiments.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=versions.STUDIES,
        title="all experiments: DeLong tests of the video AUC",
    message:
        "Testing the differences between experiments"
    shell:
        "python -m detectors.evaluation.compare --scores {input} --title {params.title:q} --output {output.table} 2> {log}"


use rule compare_experiments as compare_study with:
    input:
        of_study("results/{experiment}/video_scores.parquet"),
    output:
        table="results/studies/{study}/compare.csv",
        page=report(
            "results/studies/{study}/tables/compare.html",
            caption="../report/compare.rst",
            category="Comparison",
            labels={"experiments": "{study}", "what": "DeLong tests"},
        ),
    log:
        "logs/studies/{study}/compare.log",
    params:
        version=versions.STUDIES,
        title="{study}: DeLong tests of the video AUC",
    message:
        "Testing the differences between the experiments of {wildcards.study}"


rule summarise_experiments:
    input:
        expand("results/{experiment}/eval.csv", experiment=EXPERIMENTS),
    output:
        table="results/summary.csv",
        page=report(
            "results/tables/summary.html",
            caption="../report/summary.rst",
            category="Comparison",
            labels={"experiments": "all", "what": "summary over seeds"},
        ),
    log:
        "logs/summarise_experiments.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        version=versions.STUDIES,
        title="all experiments: summary over the seeds",
    message:
        "Summing up the experiments"
    shell:
        "python -m detectors.evaluation.summarise --evaluations {input} --title {params.title:q} --output {output.table} 2> {log}"


use rule summarise_experiments as summarise_study with:
    input:
        of_study("results/{experiment}/eval.csv"),
    output:
        table="results/studies/{study}/summary.csv",
        page=report(
            "results/studies/{study}/tables/summary.html",
            caption="../report/summary.rst",
            category="Comparison",
            labels={"experiments": "{study}", "what": "summary over seeds"},
        ),
    log:
        "logs/studies/{study}/summarise.log",
    params:
        version=versions.STUDIES,
        title="{study}: summary over the seeds",
    message:
        "Summing up the experiments of {wildcards.study}"
