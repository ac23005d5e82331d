# `snakemake --cores 1 --quiet all status`; during a run, which holds the folder's lock, `python -m preprocess.status`.
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
        "python -m preprocess.status --resolved-config {params.config:q} 2> {log}"
