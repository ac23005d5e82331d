# Figures of single experiments that no evaluation needs: `snakemake explain` makes all of them. An ensemble has no
# network of its own, and does not learn.


localrules:
    explain,


rule explain:
    input:
        expand(
            "results/{experiment}/figures/{figure}.png",
            experiment=TRAINED,
            figure=["learning", "gradcam"],
        ),


rule draw_learning_curves:
    input:
        experiment_files("results/{experiment}/seed{seed}/summary.json"),
    output:
        learning=figure("learning", "learning curves", "Explanation"),
        vector=vectors("learning"),
    log:
        "logs/learning/{experiment}.log",
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=scaled_by_attempt(2000),
        runtime=scaled_by_attempt(10),
    params:
        version=versions.EXPLAIN,
    message:
        "Drawing how {wildcards.experiment} learned"
    shell:
        "python -m detectors.figures.learning_curves --summaries {input}"
        " --output results/{wildcards.experiment}/figures/learning 2> {log}"


rule explain_detector:
    input:
        detector=experiment_files("results/{experiment}/seed{first_seed}/detector.ckpt"),
        predictions=experiment_files(
            "results/{experiment}/seed{first_seed}/predictions/{dataset}.parquet"
        ),
        samples=experiment_files("data/samples/{dataset}.parquet"),
        store=experiment_shards(("crops", "masks"), "test"),
    output:
        gradcam=figure("gradcam", "Grad-CAM", "Explanation"),
        locations=figure("locations", "location maps", "Explanation"),
        features=figure("features", "features (t-SNE)", "Explanation"),
        vector=vectors("gradcam", "locations", "features"),
    log:
        "logs/explain/{experiment}.log",
    benchmark:
        "logs/benchmarks/explain/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=scaled_by_attempt(16000),
        runtime=scaled_by_attempt(60),
    params:
        version=versions.EXPLAIN,
    message:
        "Drawing what explains {wildcards.experiment}"
    # what it prints, the names of its files, is for those who call it by hand
    shell:
        "python -m detectors.explain --checkpoint {input.detector} --samples {input.samples}"
        " --predictions {input.predictions} --data data --output results/{wildcards.experiment}/figures"
        " --threads {threads} > {log} 2>&1"
