"""What runs again after which change: the README's table "What runs again", line by line, against the real Snakemake.

Most tests are dry runs over one finished run, each in a folder of its own that leads to the files of that run.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil

import pytest
import yaml

from helpers.small_run import RESULTS, ROOT, SMALL_CONFIG, planned, snakemake, start_snakemake
from preprocess.store.tables import read_rows

DATASETS = tuple(SMALL_CONFIG["datasets"])
STAGES = {"frames": "parquet", "faces": "parquet", "crops": "h5", "landmarks": "parquet", "masks": "h5"}
SHARDS = ("0000", "0001")
MORE = SMALL_CONFIG["datasets"]["celebdf"] | {"root": "data/raw/more"}

PROMISED: list[str] = []


def promise(*lines):
    """Say which lines of the README's table a test holds, by their left column."""
    PROMISED.extend(lines)
    return lambda test: test


def changed(*path, to):
    """The config of the finished run with another value for one key."""
    config = json.loads(json.dumps(SMALL_CONFIG))  # without the settings that its experiments share
    block = config
    for key in path[:-1]:
        block = block.setdefault(key, {})
    block[path[-1]] = to
    return config


@pytest.fixture
def plan(run, tmp_path):
    """A function that plans the finished run's results with another config, as a dict or as text."""

    def function(config=SMALL_CONFIG, *arguments, targets=RESULTS, **options):
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in ("data", "results", ".snakemake"):
            (folder / name).symlink_to(run / name)
        (folder / "config.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return planned(folder, *arguments, "--", *targets, **options)

    return function


def stages(*datasets, since="frames", shards=SHARDS):
    """Files of a stage and those after it, and the samples, of some data sets."""
    names = list(STAGES)
    files = {
        f"data/{stage}/{dataset}/{shard}.{STAGES[stage]}"
        for stage in names[names.index(since) :]
        for dataset in datasets
        for shard in shards
    }
    return files | {f"data/samples/{dataset}.parquet" for dataset in datasets}


def from_raw(dataset):
    """Every file of a data set: the rendered collection, its index, and all stages."""
    index = {f"data/synthetic/{dataset}/manifest.json", f"data/index/{dataset}.parquet", f"data/index/{dataset}"}
    return index | stages(dataset)


def trained(experiment, seeds, tested):
    """What training an experiment makes, and what follows."""
    folders = [f"results/{experiment}/seed{seed}" for seed in seeds]
    return {f"{folder}/detector.ckpt" for folder in folders} | scored(experiment, seeds, tested)


def compared(experiment):
    """What looking for test videos in the training set makes."""
    return {f"results/{experiment}/leakage.csv"}


def scored(experiment, seeds, tested):
    """What scoring some data sets with an experiment makes, and what follows."""
    folders = [f"results/{experiment}/seed{seed}" for seed in seeds]
    predictions = {f"{folder}/predictions/{dataset}.parquet" for folder in folders for dataset in tested}
    return predictions | {f"results/{experiment}/eval.csv"}


SMALL = trained("small", (0, 1), ("ff", "dfdc"))
ONE = trained("one", (3,), ("celebdf",))


def test_every_line_of_the_readme_is_held_by_a_test():
    section = (ROOT / "README.md").read_text().split("## What runs again\n")[1].split("\n## ")[0]
    section = section.split("| you lose")[0]  # tests/workflow/test_mishaps.py has what follows
    lines = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    assert sorted(lines[2:]) == sorted(set(PROMISED))


def test_a_second_run_has_nothing_to_do(run):
    assert "Nothing to be done" in snakemake(run, *RESULTS)


# --- nothing -----------------------------------------------------------------------------------------------------


@promise("a data set block that no experiment names")
def test_a_block_that_nothing_uses_runs_nothing(plan):
    assert plan(changed("datasets", "more", to=MORE)) == set()


@promise("a comment or the order of the keys in `config.yaml`")
def test_comments_and_the_order_of_keys_run_nothing(plan):
    def reverse(block):
        if isinstance(block, dict):
            return {key: reverse(value) for key, value in reversed(block.items())}
        return block

    text = yaml.safe_dump(reverse(SMALL_CONFIG), sort_keys=False)
    assert text.index("frames") < text.index("datasets")
    assert plan(f"# a comment\n{text}") == set()


@promise("cores, threads, memory, time limits, `video_seconds`, `max_lost_share`, `accept_smaller`, `LOG_LEVEL`")
def test_threads_memory_and_time_limits_run_nothing(plan, monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    config = changed("datasets", "ff", "accept_smaller", to=3) | {"video_seconds": 7, "max_lost_share": 0.5}
    options = ["--cores", "3", "--set-threads", "crop_faces=2", "train_detector=1"]
    options += ["--set-resources", "track_faces:mem_mb=100", "train_detector:runtime=5", "--default-resources", "gpu=0"]
    assert plan(config, *options) == set()


@promise("another experiment; its results stay as they are")
def test_a_changed_or_removed_experiment_leaves_the_others(plan):
    config = changed("experiments", "small", "settings", "size", to=32)
    assert plan(config, targets=["results/one/eval.csv"]) == set()


@promise("code, with the stage's number in `preprocess/store/versions.py` as it was")
def test_other_code_and_another_place_for_it_run_nothing(plan, other_code):
    with open(other_code / "preprocess/crops.py", "a") as file:
        file.write("\n\ndef unused():\n    pass\n")
    assert plan(code=other_code) == set()


# --- data sets and experiments -----------------------------------------------------------------------------------


@promise("a data set added to an experiment's `test`")
def test_a_new_test_set_is_prepared_and_scored_and_nothing_is_trained(plan):
    config = changed("datasets", "more", to=MORE)
    config["experiments"]["small"]["test"] = ["ff", "dfdc", "more"]
    assert plan(config) == from_raw("more") | compared("small") | scored("small", (0, 1), ["more"])


@promise("a data set added to an experiment's `train`")
def test_a_new_training_set_is_prepared_and_that_experiment_trained(plan):
    config = changed("datasets", "more", to=MORE)
    config["experiments"]["small"]["train"] = ["ff", "celebdf", "more"]
    assert plan(config) == from_raw("more") | compared("small") | SMALL


@promise("an experiment added, on data sets that are there")
def test_another_experiment_on_the_same_data_runs_its_own_training(plan):
    new = SMALL_CONFIG["experiments"]["one"] | {"train": ["ff"], "test": ["ff", "celebdf"]}
    config = changed("experiments", "new", to=new)
    expected = compared("new") | trained("new", (3,), ("ff", "celebdf"))
    assert plan(config, targets=[*RESULTS, "results/new/eval.csv"]) == expected


@promise("a seed added to an experiment's `seeds`")
def test_another_seed_trains_once_more(plan):
    assert plan(changed("experiments", "one", "seeds", to=[3, 4])) == trained("one", (4,), ("celebdf",))


@promise("an experiment's `detector` or `settings`")
def test_a_training_setting_trains_that_experiment_alone(plan):
    assert plan(changed("experiments", "one", "settings", "size", to=32)) == ONE


@promise("`evaluate`")
def test_a_setting_of_the_evaluation_only_evaluates(plan):
    assert plan(SMALL_CONFIG | {"evaluate": {"n_bootstrap": 10}}) == set(RESULTS)


# --- stages ------------------------------------------------------------------------------------------------------


@promise("a setting of a stage, such as `crops.margin` or `faces.track_score`")
def test_another_margin_cuts_crops_again_and_tracks_nothing(plan):
    assert plan(SMALL_CONFIG | {"crops": {"margin": "30px"}}) == stages(*DATASETS, since="crops") | SMALL | ONE


@promise("a setting of a stage, such as `crops.margin` or `faces.track_score`")
def test_another_tracker_tracks_again_and_samples_no_frames(plan):
    assert plan(SMALL_CONFIG | {"faces": {"track_score": 0.9}}) == stages(*DATASETS, since="faces") | SMALL | ONE


@promise("a setting of a stage for one data set, such as `datasets.<d>.crops`")
def test_a_stage_setting_of_one_data_set_leaves_the_others(plan):
    config = changed("datasets", "dfdc", "crops", to={"margin": "30px"})
    assert plan(config) == stages("dfdc", since="crops") | scored("small", (0, 1), ["dfdc"])


@promise("`layout`, `n_shards` or `index` of a data set")
def test_another_reading_of_a_raw_folder_makes_that_data_set_again(plan):
    config = changed("datasets", "dfdc", "index", to={"downsample_fakes": 2})
    index = {"data/index/dfdc.parquet", "data/index/dfdc"}
    assert plan(config) == index | stages("dfdc") | compared("small") | scored("small", (0, 1), ["dfdc"])


@pytest.fixture
def other_code(tmp_path):
    """A copy of what runs, to change."""
    folder = tmp_path / "code"
    for name in ("workflow", "preprocess", "detectors", "profiles/default"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@promise("a stage's number in `preprocess/store/versions.py`")
@pytest.mark.parametrize(
    ("stage", "again"),
    [("LANDMARKS", stages(*DATASETS, since="landmarks") | SMALL | ONE), ("PREDICT", None), ("TRAIN", SMALL | ONE)],
)
def test_a_raised_version_runs_that_stage_and_what_follows(plan, other_code, stage, again):
    path = other_code / "preprocess/store/versions.py"
    text, n_raised = re.subn(
        rf"^{stage} = (\d+)$", lambda found: f"{stage} = 1{found[1]}", path.read_text(), flags=re.M
    )
    assert n_raised == 1
    path.write_text(text)
    if again is None:
        again = {file for file in SMALL | ONE if not file.endswith("detector.ckpt")}
    assert plan(code=other_code) == again


# --- raw folders -------------------------------------------------------------------------------------------------


def test_index_looks_at_every_raw_folder_again_and_one_rule_at_one(plan, run):
    assert plan(targets=["index"]) == {f"data/index/{d}{end}" for d in DATASETS for end in ("", ".parquet")}
    one = {"data/index/ff", "data/index/ff.parquet"}
    assert planned(run, "index_videos_ff") == one
    assert planned(run, "--forcerun", "data/index/ff.parquet", "--", "data/index/ff.parquet") == one
    # forced together with a result: what it changes runs after it, in the same call
    assert planned(run, "--forcerun", "index_videos_ff", "--", *RESULTS) == one


def test_index_and_a_result_in_one_call_are_refused(run):
    done = start_snakemake(run, "--dry-run", "index", "results/one/eval.csv")
    assert done.returncode != 0
    assert "index is asked for together with results/one/eval.csv: ask for the index first and," in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture(scope="module")
def altered(run, tmp_path_factory):
    """A copy of the finished run whose raw folders may be altered."""
    folder = tmp_path_factory.mktemp("altered") / "run"
    shutil.copytree(run, folder, symlinks=True)
    return folder


def look_again(folder):
    """Index Celeb-DF again, and plan the results."""
    snakemake(folder, "index_videos_celebdf")
    return planned(folder, *RESULTS)


def test_looking_again_at_an_unchanged_raw_folder_runs_nothing(altered):
    before = (altered / "data/index/celebdf.parquet").stat().st_mtime_ns
    assert look_again(altered) == set()
    assert (altered / "data/index/celebdf.parquet").stat().st_mtime_ns > before


def test_a_scan_that_fails_leaves_the_results_as_they_are(altered):
    raw, config = altered / "data/raw/celebdf", altered / "config.yaml"
    raw.rename(raw.with_name("unmounted"))
    as_it_was = config.read_text()
    try:
        done = start_snakemake(altered, "index_videos_celebdf")
        assert done.returncode != 0
        assert "the root 'data/raw/celebdf' is not a folder" in done.stdout
        assert planned(altered, *RESULTS) == set()
        # with other settings the lists are not what was asked for, and are not taken for it later
        config.write_text(yaml.safe_dump(changed("datasets", "celebdf", "index", to={"downsample_fakes": 2})))
        assert start_snakemake(altered, "index_videos_celebdf").returncode != 0
        index = {"data/index/celebdf.parquet", "data/index/celebdf"}
        both = compared("small") | compared("one")
        assert planned(altered, *RESULTS) == index | stages("celebdf") | both | SMALL | ONE
    finally:
        config.write_text(as_it_was)
        raw.with_name("unmounted").rename(raw)


@contextlib.contextmanager
def a_new_video(raw):
    path = raw / "YouTube-real/00099.mp4"
    shutil.copy(raw / "YouTube-real/00000.mp4", path)
    yield path
    path.unlink()


@contextlib.contextmanager
def a_replaced_video(raw):
    """Of the same name, size and number of frames."""
    path = raw / "Celeb-real/id1_0001.mp4"
    content = path.read_bytes()
    place = content.index(b"mdat") + 2 * len(content) // 3
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    yield path
    path.write_bytes(content)


@promise("a video added to, removed from or replaced in a raw folder, after `snakemake index`")
@pytest.mark.parametrize("change", [a_new_video, a_replaced_video])
def test_a_new_or_replaced_video_runs_its_shard_and_what_reads_it(altered, change):
    with change(altered / "data/raw/celebdf") as video:
        again = look_again(altered)
        shard = indexed(altered)[str(video.relative_to(altered / "data/raw/celebdf"))]["shard"]
    assert again == stages("celebdf", shards=[shard]) | compared("small") | compared("one") | SMALL | ONE


def indexed(folder):
    """Index rows of Celeb-DF by path."""
    return {row["path"]: row for row in read_rows(folder / "data/index/celebdf.parquet")}


def test_a_removed_video_runs_its_shard_and_what_reads_it(altered):
    frames = [altered / f"data/frames/celebdf/{shard}.parquet" for shard in SHARDS]
    removed = indexed(altered)["Celeb-synthesis/id0_id1_0000.mp4"]
    before = [path.stat().st_mtime_ns for path in frames]
    (altered / "data/raw/celebdf" / removed["path"]).unlink()
    again = stages("celebdf", shards=[removed["shard"]]) | compared("small") | compared("one") | SMALL | ONE
    assert look_again(altered) == again
    # once made, it is done
    targets = [str(path.relative_to(altered)) for path in frames]
    snakemake(altered, *targets)
    made = [path.stem for path, time in zip(frames, before, strict=True) if path.stat().st_mtime_ns != time]
    assert made == [removed["shard"]]
    sampled = {row["video_id"] for path in frames for row in read_rows(path)}
    assert len(sampled) > 10
    assert removed["video_id"] not in sampled
    assert planned(altered, *targets) == set()


@promise("the same without `snakemake index`", "the disc of a raw folder, which was away, mounted again")
def test_a_raw_folder_that_is_away_stops_what_reads_it_until_it_is_back(altered):
    raw, frames = altered / "data/raw/celebdf", f"data/frames/celebdf/{SHARDS[0]}.parquet"
    plan, before = planned(altered, *RESULTS), (altered / frames).read_bytes()
    raw.rename(raw.with_name("unmounted"))
    try:
        assert planned(altered, *RESULTS) == plan
        (altered / frames).unlink()
        done = start_snakemake(altered, frames)
        assert done.returncode != 0
        assert "data set 'celebdf': its root 'data/raw/celebdf' cannot be reached" in done.stdout
        assert not (altered / frames).exists()
    finally:
        raw.with_name("unmounted").rename(raw)
    snakemake(altered, frames)
    assert (altered / frames).read_bytes() == before
