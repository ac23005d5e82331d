# A resource, not a parameter: another limit reruns nothing.
VIDEO_SECONDS = config.get("video_seconds", cli.VIDEO_SECONDS)


def stage_shards(stage, suffix, datasets):
    """Files of a stage, of every shard of the given data sets."""
    return [
        f"data/{stage}/{dataset}/{shard}.{suffix}"
        for dataset in datasets
        for shard in DATASETS[dataset]["shards"]
    ]


def growing(first):
    """A resource of which a job that is tried again gets more: twice, then three times as much."""
    return lambda wildcards, attempt: first * attempt


# Snakemake's `lookup` walks through the whole table for every job: most of the time of planning a thousand shards.
def of_dataset(key):
    """Function of the wildcards: what the config says of their data set, by key of `preprocess.config.resolve`."""
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def of_experiment(key):
    """Function of the wildcards: what the config says of their experiment."""
    return lambda wildcards: EXPERIMENTS[wildcards.experiment][key]


def experiment_datasets(experiment):
    """Data sets of an experiment, those that it tests on first, each once."""
    block = EXPERIMENTS[experiment]
    return list(dict.fromkeys([*block["test"], *block["train"]]))
