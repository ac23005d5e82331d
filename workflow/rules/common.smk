# A resource, not a parameter: another limit reruns nothing.
VIDEO_SECONDS = config.get("video_seconds", cli.VIDEO_SECONDS)


def stage_shards(stage, datasets):
    """Files of a stage, of every shard of the given data sets."""
    return [
        f"data/{STAGES[stage].shard_file(dataset, shard)}"
        for dataset in datasets
        for shard in DATASETS[dataset]["shards"]
    ]


def growing(first):
    """A resource of which a job that is tried again gets more: twice, then three times as much."""
    return lambda wildcards, attempt: first * attempt


# Snakemake's `lookup` walks through the whole table for every job: most of the time of planning a thousand shards.
def of_dataset(key):
    """Function of the wildcards: what the config says of their data set, by key of `workflow.config.resolve`."""
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def of_experiment(key):
    """Function of the wildcards: what the config says of their experiment."""
    return lambda wildcards: EXPERIMENTS[wildcards.experiment][key]


# Experiments of the two kinds. Their rules make files of the same names, so each keeps to its own.
ENSEMBLES = [name for name, block in EXPERIMENTS.items() if "ensemble" in block]
TRAINED = [name for name in EXPERIMENTS if name not in ENSEMBLES]


def one_of(names):
    """What a wildcard may be: one of these names, or nothing at all."""
    return "|".join(names) or "(?!)"


def first_seed(wildcards, name):
    """A file of the experiment's first seed."""
    seed = EXPERIMENTS[wildcards.experiment]["seeds"][0]
    return f"results/{wildcards.experiment}/seed{seed}/{name}"


def of_members(pattern):
    """Function of the wildcards: a file of every member of an ensemble, with the same seed and data set."""
    return lambda wildcards: expand(
        pattern,
        member=EXPERIMENTS[wildcards.experiment]["ensemble"],
        **{name: value for name, value in wildcards.items() if name != "experiment"},
    )


def of_study(pattern):
    """Function of the wildcards: a file of every experiment of their study."""
    return lambda wildcards: expand(
        pattern, experiment=config["studies"][wildcards.study]["experiments"]
    )


def experiment_datasets(experiment):
    """Data sets of an experiment, those that it tests on first, each once."""
    block = EXPERIMENTS[experiment]
    return list(dict.fromkeys([*block["test"], *block["train"]]))


def index_params(dataset):
    """Of both rules, so that lists older than their settings are known by themselves, even when the scan has failed."""
    keys = ("layout", "root", "n_shards", "index")
    params = {key: DATASETS[dataset][key] for key in keys} | {
        "version": versions.INDEX,
        "dataset": dataset,
    }
    # functions, since Snakemake takes braces in a text, such as in a folder's name, for wildcards
    return {key: lambda wildcards, value=value: value for key, value in params.items()}
