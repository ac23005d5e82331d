# `snakemake status`, also during a run; `python -m workflow.status` prints the tables alone.
rule status:
    log:
        "logs/status.log",
    localrule: True
    conda:
        "../../envs/preprocess.yaml"
    params:
        config=json.dumps(config),
    message:
        "How far the data folder has come"
    shell:
        "python -m workflow.status --resolved-config {params.config:q} 2> {log}"
