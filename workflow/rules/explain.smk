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
        lambda wildcards: expand(
            "results/{experiment}/seed{seed}/summary.json",
            experiment=wildcards.experiment,
            seed=EXPERIMENTS[wildcards.experiment]["seeds"],
        ),
    output:
        learning=report(
            "results/{experiment}/figures/learning.png",
            caption="../report/learning.rst",
            category="Explanation",
            labels={"experiment": "{experiment}", "what": "learning curves"},
        ),
        vector="results/{experiment}/figures/learning.svg",
    log:
        "logs/learning/{experiment}.log",
    wildcard_constraints:
        experiment=one_of(TRAINED),
    conda:
        "../../envs/detectors.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        version=versions.EXPLAIN,
    message:
        "Drawing how {wildcards.experiment} learned"
    shell:
        "python -m detectors.figures.learning_curves --summaries {input}"
        " --output results/{wildcards.experiment}/figures/learning 2> {log}"


rule explain_detector:
    input:
        detector=lambda wildcards: first_seed(wildcards, "detector.ckpt"),
        predictions=lambda wildcards: expand(
            first_seed(wildcards, "predictions/{dataset}.parquet"),
            dataset=EXPERIMENTS[wildcards.experiment]["test"],
        ),
        samples=lambda wildcards: expand(
            "data/samples/{dataset}.parquet",
            dataset=EXPERIMENTS[wildcards.experiment]["test"],
        ),
        store=lambda wildcards: [
            path
            for stage in ("crops", "masks")
            for path in stage_shards(stage, EXPERIMENTS[wildcards.experiment]["test"])
        ],
    output:
        gradcam=report(
            "results/{experiment}/figures/gradcam.png",
            caption="../report/gradcam.rst",
            category="Explanation",
            labels={"experiment": "{experiment}", "what": "Grad-CAM"},
        ),
        locations=report(
            "results/{experiment}/figures/locations.png",
            caption="../report/locations.rst",
            category="Explanation",
            labels={"experiment": "{experiment}", "what": "location maps"},
        ),
        features=report(
            "results/{experiment}/figures/features.png",
            caption="../report/features.rst",
            category="Explanation",
            labels={"experiment": "{experiment}", "what": "features (t-SNE)"},
        ),
        vector=expand(
            "results/{{experiment}}/figures/{figure}.svg",
            figure=["gradcam", "locations", "features"],
        ),
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
        mem_mb=growing(16000),
        runtime=growing(60),
    params:
        version=versions.EXPLAIN,
    message:
        "Drawing what explains {wildcards.experiment}"
    shell:
        "python -m detectors.explain --checkpoint {input.detector} --samples {input.samples}"
        " --predictions {input.predictions} --data data --output results/{wildcards.experiment}/figures"
        " --threads {threads} > {log} 2>&1"
