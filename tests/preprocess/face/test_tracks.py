import tracemalloc
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from preprocess.face.appearance import colour_histogram
from preprocess.face.tracks import FaceTracker, TrackingLimits, box_iou

LIMITS = TrackingLimits()


def boxes(*centres, side=20):
    return np.array([(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]).reshape(-1, 4)


def link(
    frames,
    iou_threshold=0.3,
    max_gap=1,
    max_jump=0.0,
    step_seconds=0.04,
    histograms=None,
    appearance=None,
    limits=LIMITS,
):
    tracker = FaceTracker(
        iou_threshold=iou_threshold,
        max_gap=max_gap,
        max_jump=max_jump,
        scene_cuts=histograms is not None,
        limits=limits,
    )
    return [
        tracker.add(
            of_frame,
            pts_seconds=step_seconds * now,
            histogram=histograms and histograms[now],
            appearance=appearance and np.array(appearance[now], np.float32).reshape(len(of_frame), -1),
        ).tolist()
        for now, of_frame in enumerate(frames)
    ]


class Crowd(NamedTuple):
    """A video of people whom the tracker must tell apart.

    Attributes:
        frames: Boxes of each frame, (n, 4).
        people: Who each box is, (n,).
        histograms: Of each frame.
        pts_seconds: Of each frame.
        appearance: Of each box, (n, 6).
    """

    frames: list
    people: list
    histograms: list
    pts_seconds: list
    appearance: list

    def link(self, *, max_gap=2, max_jump=1.25, scene_cuts=True, compare_appearance=True):
        tracker = FaceTracker(iou_threshold=0.3, max_gap=max_gap, max_jump=max_jump, scene_cuts=scene_cuts)
        return [
            tracker.add(
                of_frame,
                pts_seconds=pts_seconds,
                histogram=histogram if scene_cuts else None,
                appearance=appearance if compare_appearance else None,
            )
            for of_frame, pts_seconds, histogram, appearance in zip(
                self.frames, self.pts_seconds, self.histograms, self.appearance, strict=True
            )
        ]


def crowd(seed, n_frames=40):
    """People of three kinds who drift, cross, shake and are missed in a small picture; scenes that change or flash;
    uneven times. Every number is a multiple of 1/64, so that sums with whole numbers are exact."""
    rng = np.random.default_rng(seed)
    n_people = 1 + 3 * seed
    centres, sides = rng.uniform(0, 300, (n_people, 2)), rng.uniform(20, 60, n_people)
    velocities = rng.normal(0, 12, (n_people, 2))
    scenes = rng.dirichlet(np.full(512, 0.1), 3).astype(np.float32)
    kinds = rng.uniform(0, 255, (3, 6))[rng.integers(3, size=n_people)] + rng.normal(0, 6, (n_people, 6))
    scene, video = 0, Crowd([], [], [], [], [])
    for _ in range(n_frames):
        centres = centres + velocities
        velocities = np.where((centres < 0) | (centres > 300), -velocities, velocities)
        scene = rng.integers(3) if rng.random() < 0.05 else scene
        video.histograms.append(scenes[rng.integers(3) if rng.random() < 0.05 else scene])
        seen = rng.permutation(np.flatnonzero(rng.random(n_people) > 0.15))
        middle = centres[seen] + rng.normal(0, 2, (len(seen), 2))
        half = (sides[seen] * rng.uniform(0.45, 0.55, len(seen)))[:, None]
        video.frames.append(np.round(64 * np.concatenate([middle - half, middle + half], axis=1)) / 64)
        video.people.append(seen)
        video.pts_seconds.append((video.pts_seconds or [0])[-1] + rng.integers(1, 14) / 64)
        video.appearance.append((kinds[seen] + rng.normal(0, 10, (len(seen), 6))).round().astype(np.float32))
    return video


def tracks_of(ids, keys):
    """The tracks as sets of (frame, key of the box), whatever their ids."""
    tracks = {}
    for now, (of_frame, its_keys) in enumerate(zip(ids, keys, strict=True)):
        for track, key in zip(of_frame.tolist(), its_keys.tolist(), strict=True):
            tracks.setdefault(track, set()).add((now, key))
    return {frozenset(track) for track in tracks.values()}


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


def test_people_who_changed_places_between_two_frames_keep_their_ids_by_their_appearance():
    frames = [boxes((40, 50), (70, 50)), boxes((72, 50), (41, 50)), boxes((40, 50), (70, 50))]
    appearance = [[[50, 60], [120, 90]], [[52, 66], [115, 98]], [[53, 60], [118, 90]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4) == [[0, 1], [1, 0], [0, 1]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, appearance=appearance) == [[0, 1]] * 3
    assert link(frames, max_jump=0.0, step_seconds=0.4, appearance=appearance) == [[0, 1], [1, 0], [0, 1]], (
        "overlap alone"
    )


def test_appearance_ends_no_track_when_nobody_else_is_there():
    lights_out = [[[200, 180]], [[40, 30]]]
    assert link([boxes((10, 10))] * 2, max_jump=1.25, appearance=lights_out) == [[0], [0]]


def test_appearance_reaches_as_far_as_people_walk():
    frames, appearance = [boxes((100, 100)), boxes((150, 100))], [[[90, 80]], [[95, 85]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, appearance=appearance) == [[0], [0]], "2.5 sides in 0.4 s"
    assert link(frames, max_jump=1.25, step_seconds=0.2, appearance=appearance) == [[0], [1]], "2.5 sides in 0.2 s"
    far = [boxes((100, 100)), boxes((190, 100))]
    assert link(far, max_jump=1.25, step_seconds=2.0, appearance=appearance) == [[0], [1]], "4.5 sides"
    changed = [[[90, 80]], [[117, 107]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, appearance=changed) == [[0], [1]]


def test_a_cut_ends_a_track_and_one_flashed_frame_does_not():
    a, b = (colour_histogram(np.full((30, 40, 3), level, np.uint8)) for level in (20, 200))
    here = boxes((10, 10))
    assert link([here] * 4, histograms=[a, a, b, b]) == [[0], [0], [1], [1]]
    assert link([here, boxes(), here], histograms=[a, b, a]) == [[0], [], [0]]


def test_an_overlap_of_exactly_the_threshold_does_not_link():
    whole, three_quarters, more = (np.array([[0, 0, side, 100]]) for side in (100, 75, 76))
    assert box_iou(whole, three_quarters)[0, 0] == 0.75
    assert link([whole, three_quarters], iou_threshold=0.75) == [[0], [1]]
    assert link([whole, more], iou_threshold=0.75) == [[0], [0]]


def test_memory_does_not_grow_with_the_length_of_the_video():
    def peak_bytes(n_frames):
        histogram = np.full(512, 1 / 512, np.float32)
        tracker = FaceTracker(iou_threshold=0.3, max_gap=2, max_jump=0.0)
        tracemalloc.start()
        for now in range(n_frames):  # every face is a track of its own
            boxes_now = boxes((1000 * now, 10), (1000 * now + 500, 10))
            last = tracker.add(boxes_now, pts_seconds=0.04 * now, histogram=histogram.copy())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert last.tolist() == [2 * n_frames - 2, 2 * n_frames - 1]
        return peak

    peak_bytes(2000)  # the first run allocates what stays for good
    assert peak_bytes(2000) < 1.2 * peak_bytes(200)


# --- what must hold whatever the video -----------------------------------------------------------


OPTIONS = [
    {},
    {"max_gap": 0},
    {"max_jump": 0.0},
    {"scene_cuts": False},
    {"compare_appearance": False},
    {"scene_cuts": False, "compare_appearance": False, "max_jump": 0.0},
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", OPTIONS)
def test_ids_count_up_and_no_track_has_two_faces_in_a_frame(seed, options):
    ids = crowd(seed).link(**options)
    assert all(len(set(of_frame.tolist())) == len(of_frame) for of_frame in ids)
    firsts = list(dict.fromkeys(track for of_frame in ids for track in sorted(of_frame.tolist())))
    assert firsts == list(range(len(firsts)))
    assert len(firsts) < sum(map(len, ids)), "something is linked"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", OPTIONS)
def test_the_order_of_the_boxes_does_not_matter(seed, options):
    video = crowd(seed)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(of_frame)) for of_frame in video.frames]

    def mixed(values):
        return [of_frame[order] for of_frame, order in zip(values, orders, strict=True)]

    other = video._replace(frames=mixed(video.frames), people=mixed(video.people), appearance=mixed(video.appearance))
    assert tracks_of(other.link(**options), other.people) == tracks_of(video.link(**options), video.people)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", OPTIONS)
def test_only_differences_of_time_and_place_matter_and_lengths_in_sides_of_the_face(seed, options):
    video = crowd(seed)
    ids = [of_frame.tolist() for of_frame in video.link(**options)]
    others = {
        "later": video._replace(pts_seconds=[1024 + seconds for seconds in video.pts_seconds]),
        "elsewhere": video._replace(frames=[of_frame + np.array([512, 128, 512, 128]) for of_frame in video.frames]),
        "larger": video._replace(frames=[4 * of_frame for of_frame in video.frames]),
        "upside down": video._replace(frames=[of_frame[:, [0, 3, 2, 1]] * [1, -1, 1, -1] for of_frame in video.frames]),
    }
    for how, other in others.items():
        assert [of_frame.tolist() for of_frame in other.link(**options)] == ids, how


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_parts_the_video_in_two(seed):
    whole, cut_at = crowd(seed), 17
    scenes = np.eye(2, dtype=np.float32)
    whole = whole._replace(histograms=[scenes[int(now >= cut_at)] for now in range(len(whole.frames))])
    before, after = (Crowd(*(values[part] for values in whole)) for part in (slice(cut_at), slice(cut_at, None)))
    first, second = before.link(), after.link()
    n_first = 1 + max(track for of_frame in first for track in of_frame.tolist())
    assert [of_frame.tolist() for of_frame in whole.link()] == [
        *(of_frame.tolist() for of_frame in first),
        *((of_frame + n_first).tolist() for of_frame in second),
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_jump", [0.0, 1.25])
@pytest.mark.parametrize("step_seconds", [0.04, 0.4])
def test_two_people_far_apart_never_swap(seed, max_jump, step_seconds):
    rng = np.random.default_rng(seed)
    places = np.array([(100.0, 100.0), (400.0, 100.0)])
    frames, appearance, truth = [], [], []
    for now in range(60):
        places += rng.uniform(-4, 4, (2, 2))
        # both at first, then one of the two is missed now and then, never twice in a row
        seen = rng.permutation(2)[: 1 if now % 3 == 2 else 2] if now else np.arange(2)
        frames.append(boxes(*places[seen], side=30))
        appearance.append(rng.uniform(100, 110, (len(seen), 6)))  # they look alike
        truth.append(seen.tolist())
    assert link(frames, max_jump=max_jump, step_seconds=step_seconds, appearance=appearance) == truth


@pytest.mark.parametrize("max_gap", range(4))
@pytest.mark.parametrize("n_missed", range(6))
@pytest.mark.parametrize("max_jump", [0.0, 1.25])
def test_a_track_outlives_max_gap_missed_frames_and_no_more(max_gap, n_missed, max_jump):
    here = boxes((50, 50))
    frames = [here, here, *[boxes()] * n_missed, here]
    ids = link(frames, max_gap=max_gap, max_jump=max_jump)
    assert ids == [[0], [0], *[[]] * n_missed, [0 if n_missed <= max_gap else 1]]


# --- where each limit lies ------------------------------------------------------------------------------------------

HERE = [boxes((100, 100)), boxes((100, 100))]  # seen twice: it stands still, side 20


@pytest.mark.parametrize(("shift", "linked"), [(15, 0), (15.1, 1)])
def test_a_known_motion_leads_three_quarters_of_a_side_far(shift, linked):
    assert link([*HERE, boxes((100 + shift, 100))], iou_threshold=0.9, max_jump=1.25)[2] == [linked]


@pytest.mark.parametrize(("shift", "linked"), [(25, 0), (25.1, 1)])
def test_a_face_seen_once_goes_as_far_as_max_jump(shift, linked):
    assert link([boxes((100, 100)), boxes((100 + shift, 100))], max_jump=1.25)[1] == [linked]


@pytest.mark.parametrize(("side", "linked"), [(30, 0), (30.1, 1), (13.4, 0), (13.3, 1)])
def test_sizes_are_alike_up_to_one_and_a_half(side, linked):
    """By motion as by appearance: both lead from a side of 20 px to one of 30, or of 13.4."""
    there = boxes((115, 100), side=side)
    assert link([boxes((100, 100)), there], iou_threshold=0.9, max_jump=1.25)[1] == [linked]
    alike = [[[90, 80]], [[90, 80]]]
    assert link([boxes((100, 100)), there], iou_threshold=0.9, max_jump=1.25, step_seconds=0.4, appearance=alike)[
        1
    ] == [linked]


@pytest.mark.parametrize(("step_seconds", "linked"), [(0.25, 0), (0.26, 1)])
def test_motion_is_trusted_for_a_quarter_of_a_second(step_seconds, linked):
    assert link([boxes((100, 100)), boxes((120, 100))], max_jump=1.25, step_seconds=step_seconds)[1] == [linked]


@pytest.mark.parametrize(("level", "linked"), [(115, 0), (115.1, 1)])
def test_appearance_leads_a_face_on_up_to_a_difference_of_25(level, linked):
    frames, appearance = [boxes((100, 100)), boxes((150, 100))], [[[90, 80]], [[level, level - 10]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, appearance=appearance)[1] == [linked]


@pytest.mark.parametrize(("seconds", "shift", "linked"), [(0.3, 60, 0), (0.3, 60.1, 1), (1, 80, 0), (1, 80.1, 1)])
def test_appearance_reaches_ten_sides_a_second_and_four_in_all(seconds, shift, linked):
    frames, appearance = [boxes((100, 100)), boxes((100 + shift, 100))], [[[90, 80]], [[90, 80]]]
    assert link(frames, max_jump=1.25, step_seconds=seconds, appearance=appearance)[1] == [linked]


@pytest.mark.parametrize(("rival", "linked"), [(70, [0, 1]), (69, [1, 2])])
def test_appearance_parts_a_pair_when_another_is_alike_by_less_than_seven_tenths_of_the_difference(rival, linked):
    """The first box overlaps the track and differs by 100; the second is in reach of a walk, and differs less."""
    frames = [boxes((100, 100)), boxes((100, 100), (150, 100))]
    appearance = [[[0]], [[100], [rival]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, appearance=appearance)[1] == linked


def test_what_a_track_remembers_is_half_of_what_was_seen_last():
    still = boxes((100, 100))
    # remembered: 40, then 60 (half of 80); what comes differs by 25 from that, by 5 from what was seen last
    far = [boxes((100, 100)), still, boxes((150, 100))]
    assert link(far, max_jump=1.25, step_seconds=0.4, appearance=[[[40]], [[80]], [[85]]])[2] == [0]
    assert link(far, max_jump=1.25, step_seconds=0.4, appearance=[[[40]], [[80]], [[86]]])[2] == [1]


@pytest.mark.parametrize(("share", "linked"), [(0.68, 0), (0.66, 1)])
def test_a_scene_ends_where_less_than_67_percent_of_the_colours_agree(share, linked):
    one, other = np.zeros(512, np.float32), np.zeros(512, np.float32)
    one[:2], other[:3] = (share, 1 - share), (share, 0, 1 - share)
    assert link([boxes((10, 10))] * 2, histograms=[one, other])[1] == [linked]


def test_of_two_boxes_in_reach_the_nearer_goes_on_a_track():
    # neither overlaps it; both are where its motion may lead
    assert link([boxes((100, 100)), boxes((122, 100), (79, 100))], max_jump=1.25)[1] == [1, 0]


def test_an_overlap_outweighs_what_is_near():
    # the first box overlaps the track by a hair, the second lies below it, as near
    assert link([boxes((100, 100)), boxes((118, 100), (100, 80))], iou_threshold=0.0, max_jump=1.25)[1] == [0, 1]


def test_other_limits_may_be_given():
    frames = [boxes((100, 100)), boxes((110, 100), side=26)]
    options = {"iou_threshold": 0.9, "max_jump": 1.25}
    assert link(frames, **options)[1] == [0]
    assert link(frames, **options, limits=replace(LIMITS, max_size_ratio=1.2))[1] == [1]
