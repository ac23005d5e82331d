import numpy as np
import pytest

from preprocess.tracks import box_iou, link_tracks


def boxes(*centres, side=20):
    return np.array([(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]).reshape(-1, 4)


def link(frames, iou_threshold=0.3, max_gap=1):
    return [ids.tolist() for ids in link_tracks(frames, iou_threshold=iou_threshold, max_gap=max_gap)]


def test_iou_of_known_boxes():
    a = [[0, 0, 10, 10]]
    b = [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [50, 50, 60, 60]]
    assert box_iou(a, b)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert box_iou(np.zeros((0, 4)), b).shape == (0, 4)


def test_two_people_keep_their_ids_whatever_their_order():
    assert link([boxes((10, 10), (60, 10)), boxes((62, 10), (12, 10)), boxes((14, 10), (64, 10))]) == [
        [0, 1],
        [1, 0],
        [0, 1],
    ]


def test_the_sum_of_overlaps_decides_not_the_best_single_one():
    # the middle box overlaps most with track 0, but then track 1 would be left without a box
    first, second = boxes((10, 10), (22, 10)), boxes((15, 10), (4, 10))
    assert link([first, second], iou_threshold=0.1) == [[0, 1], [1, 0]]


def test_a_short_gap_is_bridged_a_long_one_ends_the_track():
    here, nobody = boxes((10, 10)), boxes()
    assert link([here, nobody, here]) == [[0], [], [0]]
    assert link([here, nobody, nobody, here]) == [[0], [], [], [1]]


def test_a_jump_begins_a_new_track():
    assert link([boxes((10, 10)), boxes((40, 10))]) == [[0], [1]]
