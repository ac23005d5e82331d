"""A video's score from its face crops, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from detectors.measures.aggregation import AGGREGATIONS, common_aggregation, video_scores

FACES = pd.DataFrame(
    # video, frame, score, box: in frame 0 of `a` a large face, a small one behind it and one of half the area
    [
        ("b", 0, 0.5, (0, 0, 10, 10)),
        ("a", 0, 0.25, (0, 0, 20, 20)),
        ("a", 0, 1.0, (30, 0, 40, 10)),
        ("a", 0, 0.375, (50, 0, 60, 20)),
        ("a", 5, 0.125, (0, 0, 20, 20)),
        ("a", 5, 0.5, (30, 0, 50, 20)),
    ],
    columns=["video_id", "frame_index", "score", "box"],
).assign(label=[1, 0, 0, 0, 0, 0])
BOXES = pd.DataFrame(FACES["box"].tolist(), columns=["x0", "y0", "x1", "y1"], dtype=np.float32)


def test_detectors_together_have_the_aggregation_that_they_share_or_the_mean():
    assert common_aggregation(["confident", "confident"]) == "confident"
    assert common_aggregation(["max_then_mean"]) == "max_then_mean"
    assert common_aggregation(["confident", "max_then_mean"]) == "mean"


def scores_of(samples: pd.DataFrame, aggregation: str) -> dict[str, float]:
    table = video_scores(samples, aggregation)
    assert table["label"].tolist() == [0, 1]
    return dict(zip(table["video_id"], table["score"], strict=True))


def test_mean_is_over_all_face_crops():
    assert scores_of(FACES, "mean") == {"a": (0.25 + 1 + 0.375 + 0.125 + 0.5) / 5, "b": 0.5}


def test_max_then_mean_takes_the_highest_of_each_frame():
    assert scores_of(FACES, "max_then_mean") == {"a": (1 + 0.5) / 2, "b": 0.5}


def test_max_then_mean_leaves_out_faces_below_half_the_area_of_the_largest():
    with_boxes = pd.concat([FACES, BOXES], axis=1)
    assert scores_of(with_boxes, "max_then_mean") == {"a": (0.375 + 0.5) / 2, "b": 0.5}
    # a face whose box is not known stays
    with_boxes.loc[2, BOXES.columns] = np.nan
    assert scores_of(with_boxes, "max_then_mean") == {"a": (1 + 0.5) / 2, "b": 0.5}


def test_the_area_of_a_face_is_its_width_times_its_height_wherever_it_is():
    # 40 x 10 = 400, 10 x 21 = 210 and 15 x 13 = 195 px; half of the largest is 200
    boxes = [(100, 200, 140, 210), (300, 50, 310, 71), (20, 90, 35, 103)]
    samples = pd.DataFrame(boxes, columns=BOXES.columns).assign(
        video_id="a", label=0, frame_index=3, score=[0.25, 0.5, 1.0]
    )
    assert video_scores(samples, "max_then_mean")["score"].tolist() == [0.5]


def test_confident_is_the_mean_of_the_half_that_is_farthest_from_one_half():
    # of a: .25 1 .375 .125 .5, three of five
    assert scores_of(FACES, "confident") == {"a": (1 + 0.125 + 0.25) / 3, "b": 0.5}


def test_confident_takes_all_that_are_as_far_as_the_last():
    samples = pd.DataFrame({"video_id": list("aaaa"), "label": 0, "score": [0.9, 0.25, 0.75, 0.5]})
    for rows in ([0, 1, 2, 3], [3, 2, 1, 0]):
        assert video_scores(samples.iloc[rows], "confident")["score"].tolist() == [
            pytest.approx((0.9 + 0.25 + 0.75) / 3)
        ]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_one_score_of_all_faces_is_the_video_score(aggregation):
    same = FACES.assign(score=np.float32(0.3))
    assert scores_of(same, aggregation) == dict.fromkeys("ab", pytest.approx(0.3))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_samples_give_no_videos(aggregation):
    assert video_scores(FACES.iloc[:0], aggregation).empty


def test_unknown_aggregation():
    with pytest.raises(ValueError, match="'median'; allowed: mean, max_then_mean, confident"):
        video_scores(FACES, "median")
