wildcard_constraints:
    study_folder=f"(?:{'|'.join(STUDIES)})",


rule cross_evaluate:
    input:
        study_files("results/{experiment}/eval.csv"),
    output:
        table="results/{study_folder}cross_eval.csv",
        page=shown_of_study(
            "tables/cross_eval.html", "cross evaluation, table", "cross_eval_table"
        ),
        figure=shown_of_study(
            "figures/cross_eval.png", "cross evaluation", "cross_eval"
        ),
        vector="results/{study_folder}figures/cross_eval.svg",
    log:
        "logs/{study_folder}cross_evaluate.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=scaled_by_attempt(2000),
        runtime=scaled_by_attempt(10),
    params:
        version=versions.STUDIES,
        title=study_title("cross evaluation"),
    message:
        "Comparison of {params.title}"
    shell:
        "python -m detectors.evaluation.cross_evaluation --evaluations {input} --title {params.title:q} --output {output.table}"
        " --figures $(dirname {output.figure}) 2> {log}"


rule compare_experiments:
    input:
        study_files("results/{experiment}/video_scores.parquet"),
    output:
        table="results/{study_folder}compare.csv",
        page=shown_of_study("tables/compare.html", "DeLong tests", "compare"),
    log:
        "logs/{study_folder}compare.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=scaled_by_attempt(4000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.STUDIES,
        title=study_title("DeLong tests of the video AUC"),
    message:
        "Comparison of {params.title}"
    shell:
        "python -m detectors.evaluation.compare --scores {input} --title {params.title:q} --output {output.table} 2> {log}"


rule summarise_experiments:
    input:
        study_files("results/{experiment}/eval.csv"),
    output:
        table="results/{study_folder}summary.csv",
        page=shown_of_study("tables/summary.html", "summary over seeds", "summary"),
    log:
        "logs/{study_folder}summarise.log",
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=scaled_by_attempt(2000),
        runtime=scaled_by_attempt(10),
    params:
        version=versions.STUDIES,
        title=study_title("summary over the seeds"),
    message:
        "Comparison of {params.title}"
    shell:
        "python -m detectors.evaluation.summarise --evaluations {input} --title {params.title:q} --output {output.table} 2> {log}"
