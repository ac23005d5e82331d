import numpy as np
import pytest

from preprocess.tracks import box_iou, colour_histogram, link_tracks


def boxes(*centres, side=20):
    return np.array([(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]).reshape(-1, 4)


def link(frames, iou_threshold=0.3, max_gap=1, step_seconds=0.04, **options):
    times = (step_seconds * np.arange(len(frames))).tolist()
    ids = link_tracks(frames, iou_threshold=iou_threshold, max_gap=max_gap, pts_seconds=times, **options)
    return [of_frame.tolist() for of_frame in ids]


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


@pytest.mark.parametrize("step", [4, 8, 12, 17, 20, 24])
@pytest.mark.parametrize("hidden", [False, True])
def test_two_people_who_cross_keep_their_ids(step, hidden):
    # side 20; `hidden`: the one behind is not seen while the other covers more than half of it
    frames, truth = [], []
    for now in range(12):
        front, back = 60 + (now - 5) * step, 65 - (now - 5) * step
        people = [0] if hidden and abs(front - back) < 10 else [now % 2, 1 - now % 2]
        frames.append(boxes(*((front, 50) if person == 0 else (back, 53) for person in people)))
        truth.append(people)
    assert link(frames, max_gap=2, max_jump=1.25) == truth


def test_crossing_needs_the_motion():
    # the people have changed places between the second and the third frame
    frames = [boxes((40, 50), (70, 50)), boxes((50, 50), (60, 50)), boxes((60, 50), (50, 50))]
    assert link(frames, max_jump=1.25) == [[0, 1], [0, 1], [0, 1]]
    assert link(frames) == [[0, 1], [0, 1], [1, 0]]


def test_a_face_too_fast_to_overlap_is_followed():
    fast = [boxes((x, 10)) for x in (10, 34, 62, 90, 114)]
    assert link(fast, max_jump=1.25) == [[0]] * 5
    assert link(fast) == [[0], [1], [2], [3], [4]]
    assert link(fast, max_jump=1.25, step_seconds=0.3) == [[0], [1], [2], [3], [4]], "too long ago to know the motion"


def test_what_is_near_but_of_another_size_begins_a_track():
    assert link([boxes((10, 10)), boxes((34, 10), side=32)], max_jump=1.25) == [[0], [1]]
    assert link([boxes((10, 10)), boxes((34, 10), side=28)], max_jump=1.25) == [[0], [0]]


def test_a_face_that_stood_still_does_not_jump():
    still = [boxes((10, 10)), boxes((10, 10))]
    assert link([*still, boxes((30, 10))], max_jump=1.25) == [[0], [0], [1]]
    assert link([*still, boxes((24, 10))], max_jump=1.25) == [[0], [0], [0]]


def test_a_cut_ends_a_track_and_one_flashed_frame_does_not():
    a, b = (colour_histogram(np.full((30, 40, 3), level, np.uint8)) for level in (20, 200))
    here = boxes((10, 10))
    assert link([here] * 4, histograms=[a, a, b, b]) == [[0], [0], [1], [1]]
    assert link([here, boxes(), here], histograms=[a, b, a]) == [[0], [], [0]]


def test_the_histogram_counts_shares_whatever_the_size():
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, 100:] = (255, 0, 0)
    histogram = colour_histogram(half)
    assert histogram[0] == histogram[7 * 64] == 0.5
    assert histogram.sum() == 1
