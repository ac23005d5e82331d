# A resource, not a parameter: another limit reruns nothing.
VIDEO_SECONDS = config.get("video_seconds", cli.VIDEO_SECONDS)

# Experiments of the two kinds. Their rules make files of the same names, so each keeps to its own.
ENSEMBLES = [name for name, block in EXPERIMENTS.items() if "ensemble" in block]
TRAINED = [name for name in EXPERIMENTS if name not in ENSEMBLES]


def one_of(names):
    """What a wildcard may be: one of these names, or nothing at all."""
    return "|".join(names) or "(?!)"


def scaled_by_attempt(first):
    """A resource of which a job that is tried again gets more: twice, then three times as much."""
    return lambda wildcards, attempt: first * attempt


# What the config says, as functions of a job's wildcards. Snakemake's own `lookup` walks through the whole table for
# every job: most of the time of planning a thousand shards.


def dataset_value(key):
    """What the config says of the data set, by key of `workflow.config.resolve`."""
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def experiment_value(key):
    """What the config says of the experiment, by key of `EXPERIMENTS`."""
    return lambda wildcards: EXPERIMENTS[wildcards.experiment][key]


# Files, as functions of a job's wildcards.


def stage_shards(stage, datasets):
    """Files of a stage, of every shard of the given data sets."""
    return [
        f"data/{STAGES[stage].shard_file(dataset, shard)}"
        for dataset in datasets
        for shard in DATASETS[dataset]["shards"]
    ]


def dataset_shards(stage):
    """Files of a stage, of every shard of the data set."""
    return lambda wildcards: stage_shards(stage, [wildcards.dataset])


def experiment_shards(stages, role):
    """Files of some stages, of every shard of the data sets that the experiment has in a role.

    Args:
        stages: Names of stages, or the key of `EXPERIMENTS` that has them.
        role: `train`, `test`, or `datasets` for both.
    """

    def files(wildcards):
        experiment = EXPERIMENTS[wildcards.experiment]
        names = experiment[stages] if isinstance(stages, str) else stages
        return [
            file for stage in names for file in stage_shards(stage, experiment[role])
        ]

    return files


def experiment_files(pattern, role="test"):
    """A file for each member, data set and seed of the experiment that the pattern names and the job does not.

    Args:
        pattern: With `{experiment}`, `{member}`, `{dataset}`, `{seed}`, or `{first_seed}`.
        role: Which data sets: `train`, `test`, or `datasets` for both.
    """

    def files(wildcards):
        experiment = EXPERIMENTS[wildcards.experiment]
        values = {
            "member": experiment["members"],
            "dataset": experiment[role],
            "seed": experiment["seeds"],
            "first_seed": experiment["seeds"][:1],
        }
        return expand(pattern, **values | dict(wildcards.items()))

    return files


# What `snakemake --report` shows of an experiment, with a caption of workflow/report/.


def shown(file, what, category, caption):
    return report(
        file,
        caption=f"../report/{caption}.rst",
        category=category,
        labels={"experiment": "{experiment}", "what": what},
    )


def figure(name, what, category, caption=None):
    """A figure of an experiment; its caption has its name unless another is given."""
    file = f"results/{{experiment}}/figures/{name}.png"
    return shown(file, what, category, caption or name)


def page(name, what, category, caption=None):
    """A table of an experiment as a page; its caption has its name unless another is given."""
    file = f"results/{{experiment}}/tables/{name}.html"
    return shown(file, what, category, caption or name)


def vectors(*names):
    """The same figures as `figure`, for print."""
    return [f"results/{{experiment}}/figures/{name}.svg" for name in names]


# Of an index.


def index_params(dataset):
    """Parameters of both of its rules: lists older than their settings are known by themselves, even after a failed scan."""
    keys = ("layout", "root", "n_shards", "index")
    params = {key: DATASETS[dataset][key] for key in keys} | {
        "version": versions.INDEX,
        "dataset": dataset,
    }
    # functions, since Snakemake takes braces in a text, such as in a folder's name, for wildcards
    return {key: lambda wildcards, value=value: value for key, value in params.items()}


# Several experiments side by side. All of the config are a study, too: its files lie in results/ itself, those of the
# studies that have a name in results/studies/<name>/.
STUDIES = {"": list(EXPERIMENTS)} | {
    f"studies/{name}/": block["experiments"]
    for name, block in config.get("studies", {}).items()
}


def study_files(pattern):
    """Function of the wildcards: a file of every experiment of the study."""
    return lambda wildcards: expand(pattern, experiment=STUDIES[wildcards.study_folder])


def study_title(what):
    """Function of the wildcards: the study's name, and what is shown of it."""
    return lambda wildcards: f"{study_name(wildcards) or 'all experiments'}: {what}"


def study_name(wildcards):
    return wildcards.study_folder.removeprefix("studies/").removesuffix("/")


def shown_of_study(file, what, caption):
    """A result that `snakemake --report` shows, with a caption of workflow/report/."""
    return report(
        f"results/{{study_folder}}{file}",
        caption=f"../report/{caption}.rst",
        category="Comparison",
        labels=lambda wildcards: {
            "experiments": study_name(wildcards) or "all",
            "what": what,
        },
    )
