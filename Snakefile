# From raw deepfake videos to evaluated detectors. What to run is in config.yaml, how to run it in README.md.
import json
import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


# the rules' programs are modules of this repository, run by the Python that runs Snakemake, or by that of the jobs'
# own conda environment or container
sys.path.insert(0, workflow.basedir)

from detectors.families import FAMILIES
from preprocess.running import cli, system_errors
from preprocess.store import versions
from preprocess.store.stages import STAGES
from preprocess.running.cli import UserError
from workflow.config import (
    check_config,
    evaluate_settings,
    experiment_settings,
    resolve,
    resolve_experiments,
    robustness_settings,
)
from preprocess.running.settings import settings_json
from workflow.scans import lists_rule, scan_rule
from workflow.snakemake_seam import guard_runs

shell.prefix(
    system_errors.shell_prefix(
        (
            None
            if workflow.deployment_settings.deployment_method
            else os.path.dirname(sys.executable)
        ),
        workflow.basedir,
    )
)


# only used with --software-deployment-method apptainer
container: config.get("container")


try:
    check_config(config)
except UserError as error:
    raise WorkflowError(str(error))

DATASETS = resolve(config)
EXPERIMENTS = {
    name: experiment
    | {
        "members": experiment.get("ensemble", [name]),
        "datasets": list(dict.fromkeys([*experiment["test"], *experiment["train"]])),
        "allow_leakage": experiment.get("allow_leakage", []),
        "settings": experiment_settings(config, name),
        "gpus": json.loads(experiment_settings(config, name)).get("gpus", 1),
        "reads": (
            FAMILIES[experiment["detector"]].reads if "detector" in experiment else ()
        ),
        "evaluate": evaluate_settings(config, name),
    }
    for name, experiment in resolve_experiments(config).items()
}

# one run in this folder at a time, the same command again after any end, and `index` looks at the raw folders again
guard_runs(workflow, DATASETS)


# only names that the config has, so that no rule takes a misspelt file for its own
wildcard_constraints:
    dataset="|".join(DATASETS),
    experiment="|".join(EXPERIMENTS) or "(?!)",
    shard=r"\d{4}",
    seed=r"\d+",


localrules:
    all,
    index,
    samples,


rule all:
    input:
        expand("results/{experiment}/eval.csv", experiment=EXPERIMENTS),


include: "workflow/rules/common.smk"
include: "workflow/rules/synthetic.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/frames.smk"
include: "workflow/rules/faces.smk"
include: "workflow/rules/crops.smk"
include: "workflow/rules/landmarks.smk"
include: "workflow/rules/masks.smk"
include: "workflow/rules/samples.smk"
include: "workflow/rules/leakage.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/ensemble.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/robustness.smk"
include: "workflow/rules/perturbations.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/status.smk"
