"""Test videos that share a file, a source or a person with the training set."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from detectors.evaluation import leakage as module
from detectors.evaluation.leakage import check_leaks, find_leaks, read_leaked
from detectors.figures.tables import write_csv
from helpers.programs import run_program
from preprocess.running.cli import UserError
from preprocess.store.origin import Origin
from preprocess.store.schemas import INDEX
from preprocess.store.tables import write_table

LAYOUTS = {
    "ff_c23": "faceforensics",
    "ff_c40": "faceforensics",
    "celeb": "celebdf",
    "mine": "videos",
    "other": "videos",
}


def video(dataset, name, split, *, people=(), source=None, checksum=None, label=0, status="ok"):
    return {
        "video_id": f"{dataset}/real/original/{name}",
        "dataset": dataset,
        "path": f"{name}.mp4",
        "label": label,
        "split": split,
        "source_group": source or name,
        "identities": list(people),
        "checksum": checksum or f"{dataset}{name}",
        "status": status,
    }


def leaks_of(*videos, train=tuple(LAYOUTS), test=tuple(LAYOUTS)):
    """(test video, kind, what it shares, training video, number of them) of every leak."""
    table = find_leaks(pd.DataFrame(videos), LAYOUTS, train, test)
    assert tuple(table) == module.COLUMNS
    columns = ["video_id", "kind", "shared", "train_video_id", "n_train_videos"]
    return [tuple(row) for row in table[columns].itertuples(index=False)]


def test_a_person_of_the_training_set_is_found_in_a_test_video():
    found = leaks_of(
        video("celeb", "id1_0000", "train", people=["id1"]),
        video("celeb", "id1_0001", "train", people=["id1"]),
        video("celeb", "id2_id1_0005", "test", people=["id2", "id1"]),
        video("celeb", "id2_0005", "test", people=["id2"]),
    )
    assert found == [
        ("celeb/real/original/id2_id1_0005", "identity", "id1", "celeb/real/original/id1_0000", 2),
    ]


def test_a_source_of_the_training_set_is_found_and_its_people_are_not_told_again():
    found = leaks_of(
        video("celeb", "id1_0000", "train", people=["id1"]),
        video("celeb", "id1_id2_0000", "test", people=["id1", "id2"], source="id1_0000", label=1),
    )
    assert found == [("celeb/real/original/id1_id2_0000", "source", "id1_0000", "celeb/real/original/id1_0000", 1)]


def test_validation_videos_count_as_training():
    found = leaks_of(video("ff_c23", "000", "val", people=["000"]), video("ff_c23", "9", "test", people=["000"]))
    assert [kind for _, kind, *_ in found] == ["identity"]


def test_the_same_bytes_are_found_under_any_name():
    found = leaks_of(video("mine", "a", "train", checksum="77"), video("celeb", "b", "test", checksum="77"))
    assert found == [("celeb/real/original/b", "video", "77", "mine/real/original/a", 1)]


def test_copies_of_a_collection_share_its_names():
    found = leaks_of(
        video("ff_c23", "000", "train", people=["000"]),
        video("ff_c23", "001", "train", people=["001"]),
        video("ff_c40", "000", "test", people=["000"]),
        video("ff_c40", "x_000_003", "test", people=["000", "003"], source="000", label=1),
        video("ff_c40", "x_003_001", "test", people=["003", "001"], source="003", label=1),
    )
    assert [row[:3] for row in found] == [
        ("ff_c40/real/original/000", "video", "000.mp4"),
        ("ff_c40/real/original/x_000_003", "source", "000"),
        ("ff_c40/real/original/x_003_001", "identity", "001"),
    ]


def test_the_same_names_in_other_collections_mean_nothing():
    assert not leaks_of(
        video("mine", "001", "train", people=["1"]),
        video("other", "001", "test", people=["1"]),
        video("ff_c23", "000", "train", people=["id1"]),
        video("celeb", "000", "test", people=["id1"]),
    )


def test_only_data_sets_of_the_experiment_and_usable_videos_count():
    videos = [
        video("celeb", "a", "train", people=["id1"]),
        video("celeb", "b", "test", people=["id1"]),
        video("celeb", "gone", "test", people=["id1"], status="missing"),
        video("celeb", "unknown", "test", people=["id1"], label=None),
        video("mine", "c", "train"),
    ]
    assert len(leaks_of(*videos)) == 1
    assert not leaks_of(*videos, train=["mine"])
    assert not leaks_of(*videos, test=["mine"])
    assert not leaks_of(videos[0], videos[1] | {"split": None})


def test_a_leak_stops_with_names_and_the_way_out(tmp_path):
    leaks = find_leaks(
        pd.DataFrame(
            [
                *(video("celeb", f"t{number}", "train", people=["id1"]) for number in range(3)),
                *(video("celeb", f"b{number}", "test", people=["id1"]) for number in range(5)),
                video("celeb", "copy", "test", checksum="celebt1"),
            ]
        ),
        LAYOUTS,
        ["celeb"],
        ["celeb"],
    )
    full_list = tmp_path / "refused.csv"
    with pytest.raises(UserError) as caught:
        check_leaks(leaks, ["source"], "ucf", full_list)
    said = str(caught.value).splitlines()
    assert said[:4] == [
        "experiment 'ucf' would be tested on what it is trained on:",
        "1 test video shares a file with the training set, such as",
        "  celeb/real/original/copy: the same file as the training video celeb/real/original/t1",
        "5 test videos share a person with the training set, such as",
    ]
    assert (
        said[4] == "  celeb/real/original/b0: person id1, also in the training video celeb/real/original/t0 and 2 more"
    )
    assert len(said) == 8
    assert str(full_list) in said[-1]
    assert "experiments.ucf.allow_leakage: [video, source, identity]" in said[-1]
    assert read_leaked(full_list) == {"celeb": 6}
    check_leaks(leaks, ["video", "identity"], "ucf", full_list)


def run_leakage(tmp_path, *arguments):
    rows = [video("celeb", "a", "train", people=["id1"]), video("celeb", "b", "test", people=["id1"])]
    rows = [dict.fromkeys(INDEX.names) | row for row in rows]
    for shard, of_shard in (("0000", rows[:1]), ("0001", []), ("0002", rows[1:])):
        path = tmp_path / "index/celeb" / f"{shard}.parquet"
        write_table(path, of_shard, INDEX, Origin("celeb", "index", "{}", 1, shard))
    datasets = {"celeb": {"layout": "celebdf", "n_shards": 3}}
    options = ["--experiment", "ucf", "--index", tmp_path / "index", "--datasets", json.dumps(datasets)]
    options += ["--train", "celeb", "--test", "celeb", *arguments, "--output", tmp_path / "leakage.csv"]
    run_program(module.main, *options)


def test_the_command_writes_what_is_allowed_and_refuses_the_rest(tmp_path):
    with pytest.raises(UserError, match="1 test video shares a person"):
        run_leakage(tmp_path, "--allow")
    assert not (tmp_path / "leakage.csv").exists()
    assert read_leaked(tmp_path / "leakage.refused.csv") == {"celeb": 1}
    run_leakage(tmp_path, "--allow", "identity")
    assert read_leaked(tmp_path / "leakage.csv") == {"celeb": 1}
    assert not (tmp_path / "leakage.refused.csv").exists()


def test_a_refused_check_leaves_the_last_table_and_says_that_nothing_is_trained_again(tmp_path):
    run_leakage(tmp_path, "--allow", "identity")
    table = tmp_path / "leakage.csv"
    before = table.read_bytes(), table.stat().st_mtime_ns, table.stat().st_ino
    with pytest.raises(
        UserError, match=r"Detectors that are trained stay .* allow_leakage makes no training run again"
    ):
        run_leakage(tmp_path, "--allow")
    assert (table.read_bytes(), table.stat().st_mtime_ns, table.stat().st_ino) == before
    assert {path.name for path in tmp_path.iterdir()} == {"index", "leakage.csv", "leakage.refused.csv"}


def test_no_leaks_are_an_empty_table(tmp_path):
    write_csv(tmp_path / "leakage.csv", find_leaks(pd.DataFrame([video("mine", "a", "test")]), LAYOUTS, [], []))
    assert read_leaked(tmp_path / "leakage.csv") == {}
    with pytest.raises(UserError, match=r"python -m detectors\.evaluation\.leakage"):
        read_leaked(tmp_path / "absent.csv")
