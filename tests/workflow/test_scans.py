"""Who asks for an index means the raw folder as it is now."""

from __future__ import annotations

import pytest

from preprocess.running.cli import UserError
from workflow.scans import force_scans

DATASETS = ("a", "b")
BOTH = {"index_videos_a", "index_videos_b", "list_shards_a", "list_shards_b"}
RESULT = "results/one/eval.csv"


@pytest.mark.parametrize(
    ("targets", "forced", "expected_targets", "expected_forced"),
    [
        ({"index"}, set(), {"index"}, BOTH),
        ({"index_videos_a"}, set(), {"index_videos_a"}, {"index_videos_a", "list_shards_a"}),
        # the table alone is made when it is absent, its lists in the same call
        ({"data/index/a.parquet"}, set(), {"data/index/a.parquet", "list_shards_a"}, set()),
        (
            {"data/index/a.parquet"},
            {"data/index/a.parquet"},
            {"data/index/a.parquet"},
            {"data/index/a.parquet", "list_shards_a"},
        ),
        ({RESULT}, {"index_videos_b"}, {RESULT}, {"index_videos_b", "list_shards_b"}),
        ({RESULT}, {"crop_faces"}, {RESULT}, {"crop_faces"}),
        (set(), set(), set(), set()),
    ],
)
def test_scans_that_are_asked_for_run_with_their_lists(targets, forced, expected_targets, expected_forced):
    assert force_scans(frozenset(targets), frozenset(forced), DATASETS) == (expected_targets, expected_forced)


@pytest.mark.parametrize("scan", ["index", "index_videos_a"])
def test_a_scan_and_a_result_in_one_call_are_refused(scan):
    with pytest.raises(UserError, match=f"{scan} is asked for together with {RESULT}: ask for the index first"):
        force_scans({scan, RESULT}, set(), DATASETS)


def test_a_scan_of_no_data_set_of_the_config_is_left_to_snakemake():
    assert force_scans({"index_videos_c"}, set(), DATASETS) == ({"index_videos_c"}, set())
