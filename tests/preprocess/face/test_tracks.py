import tracemalloc

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from preprocess.face.tracks import FaceTracker, box_iou, colour_histogram, looks_of


def boxes(*centres, side=20):
    return np.array([(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres]).reshape(-1, 4)


def link(frames, iou_threshold=0.3, max_gap=1, max_jump=0.0, step_seconds=0.04, histograms=None, looks=None):
    tracker = FaceTracker(
        iou_threshold=iou_threshold, max_gap=max_gap, max_jump=max_jump, scene_cuts=histograms is not None
    )
    return [
        tracker.add(
            of_frame,
            pts_seconds=step_seconds * now,
            histogram=histograms and histograms[now],
            looks=looks and np.array(looks[now], np.float32).reshape(len(of_frame), -1),
        ).tolist()
        for now, of_frame in enumerate(frames)
    ]


def reference_link(frames, histograms, times, looks, *, iou_threshold, max_gap, max_jump, scene_cuts):
    """Every track of the whole video at every frame, a face at a time: what the tracker must give, spelt out."""

    def centre(box):
        return (box[:2] + box[2:]) / 2

    def side(box):
        return np.sqrt((box[2] - box[0]) * (box[3] - box[1]))

    tracks, linked = [], []
    for now, of_frame in enumerate(frames):
        alive = [key for key, track in enumerate(tracks) if now - track["seen"] <= max_gap + 1]
        if scene_cuts:
            same = [np.minimum(histograms[tracks[key]["seen"]], histograms[now]).sum() >= 0.67 for key in alive]
            alive = [key for key, ok in zip(alive, same, strict=True) if ok]
        affinity = np.zeros((len(alive), len(of_frame)))
        for row, key in enumerate(alive):
            track = tracks[key]
            last = track["box"]
            velocity = np.zeros(2) if track["velocity"] is None else track["velocity"]
            predicted = last + np.tile(velocity * (now - track["seen"]), 2)
            for column, box in enumerate(of_frame):
                overlap = box_iou(last, box)[0, 0]
                if max_jump == 0 or times[now] - times[track["seen"]] > 0.25:
                    affinity[row, column] = overlap if overlap > iou_threshold else 0
                    continue
                reach = max_jump if track["velocity"] is None and now - track["seen"] == 1 else 0.75
                shift = np.linalg.norm(centre(predicted) - centre(box)) / side(last)
                shift_last = np.linalg.norm(centre(last) - centre(box)) / side(last)
                like_size = max(side(last), side(box)) <= 1.5 * min(side(last), side(box))
                if overlap > iou_threshold or (like_size and (shift <= reach or shift_last <= 0.75)):
                    affinity[row, column] = box_iou(predicted, box)[0, 0] + 0.01 / (1 + shift)
        if max_jump > 0 and looks is not None:
            judge_by_looks(affinity, [tracks[key] for key in alive], of_frame, looks[now], times[now], centre, side)
        ids = np.full(len(of_frame), -1)
        for row, column in zip(*linear_sum_assignment(-affinity), strict=True):
            if affinity[row, column] > 0:
                track, box = tracks[alive[row]], of_frame[column]
                track["velocity"] = (centre(box) - centre(track["box"])) / (now - track["seen"])
                track["box"], track["seen"], track["pts_seconds"] = box, now, times[now]
                if looks is not None:
                    track["looks"] = (track["looks"] + looks[now][column]) / 2
                ids[column] = alive[row]
        for column in np.flatnonzero(ids < 0):
            ids[column] = len(tracks)
            tracks.append({"box": of_frame[column], "velocity": None, "seen": now, "pts_seconds": times[now]})
            tracks[-1]["looks"] = looks[now][column] if looks is not None else None
        linked.append(ids.tolist())
    return linked


def judge_by_looks(affinity, tracks, of_frame, looks, now_seconds, centre, side):
    """Change the affinities of (tracks, boxes) in place as looks say."""
    difference, shift = np.full(affinity.shape, np.inf), np.zeros(affinity.shape)
    for row, track in enumerate(tracks):
        last = track["box"]
        for column, box in enumerate(of_frame):
            shift[row, column] = np.linalg.norm(centre(last) - centre(box)) / side(last)
            like_size = max(side(last), side(box)) <= 1.5 * min(side(last), side(box))
            near = shift[row, column] <= min(4, 10 * (now_seconds - track["pts_seconds"]))
            if affinity[row, column] > 0 or (like_size and near):
                difference[row, column] = np.abs(track["looks"] - looks[column]).mean()
    for row, column in np.argwhere(np.isfinite(difference)).tolist():
        rivals = [*np.delete(difference[row], column), *np.delete(difference[:, column], row)]
        if min(rivals, default=np.inf) < 0.7 * difference[row, column]:
            affinity[row, column] = 0
        elif difference[row, column] <= 25:
            affinity[row, column] = max(affinity[row, column], 0.005 / (1 + shift[row, column]))


def random_video(rng, n_frames, n_faces):
    """Boxes that drift, cross, shake and are missed in a small frame, looks of three kinds of people; scenes that
    change or flash; uneven times."""
    centres, sides = rng.uniform(0, 300, (n_faces, 2)), rng.uniform(20, 60, n_faces)
    velocities = rng.normal(0, 12, (n_faces, 2))
    scenes = rng.dirichlet(np.full(512, 0.1), 3).astype(np.float32)
    people = rng.uniform(0, 255, (3, 6))[rng.integers(3, size=n_faces)] + rng.normal(0, 6, (n_faces, 6))
    scene, frames, histograms, looks = 0, [], [], []
    for _ in range(n_frames):
        centres = centres + velocities
        velocities = np.where((centres < 0) | (centres > 300), -velocities, velocities)
        scene = rng.integers(3) if rng.random() < 0.05 else scene
        histograms.append(scenes[rng.integers(3) if rng.random() < 0.05 else scene])
        seen = rng.permutation(np.flatnonzero(rng.random(n_faces) > 0.15))
        middle = centres[seen] + rng.normal(0, 2, (len(seen), 2))
        half = (sides[seen] * rng.uniform(0.45, 0.55, len(seen)))[:, None]
        frames.append(np.concatenate([middle - half, middle + half], axis=1).round(2))
        looks.append((people[seen] + rng.normal(0, 10, (len(seen), 6))).round().astype(np.float32))
    return frames, histograms, np.cumsum(rng.uniform(0.02, 0.2, n_frames)).tolist(), looks


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


def test_people_who_changed_places_between_two_frames_keep_their_ids_by_their_looks():
    frames = [boxes((40, 50), (70, 50)), boxes((72, 50), (41, 50)), boxes((40, 50), (70, 50))]
    looks = [[[50, 60], [120, 90]], [[52, 66], [115, 98]], [[53, 60], [118, 90]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4) == [[0, 1], [1, 0], [0, 1]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, looks=looks) == [[0, 1]] * 3
    assert link(frames, max_jump=0.0, step_seconds=0.4, looks=looks) == [[0, 1], [1, 0], [0, 1]], "overlap alone"


def test_looks_end_no_track_when_nobody_else_is_there():
    lights_out = [[[200, 180]], [[40, 30]]]
    assert link([boxes((10, 10))] * 2, max_jump=1.25, looks=lights_out) == [[0], [0]]


def test_looks_reach_as_far_as_people_walk():
    frames, looks = [boxes((100, 100)), boxes((150, 100))], [[[90, 80]], [[95, 85]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, looks=looks) == [[0], [0]], "2.5 sides in 0.4 s"
    assert link(frames, max_jump=1.25, step_seconds=0.2, looks=looks) == [[0], [1]], "2.5 sides in 0.2 s"
    far = [boxes((100, 100)), boxes((190, 100))]
    assert link(far, max_jump=1.25, step_seconds=2.0, looks=looks) == [[0], [1]], "4.5 sides"
    changed = [[[90, 80]], [[117, 107]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, looks=changed) == [[0], [1]]


def test_looks_are_head_and_clothes_and_not_the_wall():
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[40:60, 50:70] = (200, 100, 50)
    frame[60:80, 40:80] = (0, 0, 250)
    looks = looks_of(frame, boxes((60, 50))).reshape(8, 4, 3)
    # rows from 36 to 78: the hair is black, then the face, then the clothes
    assert looks[0].max() < 200
    assert looks[2].tolist() == [[200, 100, 50]] * 4
    assert looks[6:].tolist() == [[[0, 0, 250]] * 4] * 2
    frame[:, 80:] = 255
    assert np.array_equal(looks_of(frame, boxes((60, 50))).reshape(8, 4, 3), looks)
    assert looks_of(frame, np.zeros((0, 4))).shape == (0, 96)
    assert not looks_of(frame, boxes((-50, 10))).any()


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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_gap", [0, 2])
@pytest.mark.parametrize("max_jump", [0.0, 1.25])
@pytest.mark.parametrize("scene_cuts", [False, True])
@pytest.mark.parametrize("compare_looks", [False, True])
def test_the_tracker_agrees_with_a_plain_reference(seed, max_gap, max_jump, scene_cuts, compare_looks):
    rng = np.random.default_rng(seed)
    frames, histograms, times, looks = random_video(rng, n_frames=40, n_faces=1 + 3 * seed)
    looks = looks if compare_looks else None
    options = {"iou_threshold": 0.3, "max_gap": max_gap, "max_jump": max_jump, "scene_cuts": scene_cuts}
    tracker = FaceTracker(**options)
    found = [
        tracker.add(
            boxes,
            pts_seconds=seconds,
            histogram=histogram if scene_cuts else None,
            looks=looks[now] if compare_looks else None,
        ).tolist()
        for now, (boxes, histogram, seconds) in enumerate(zip(frames, histograms, times, strict=True))
    ]
    assert found == reference_link(frames, histograms, times, looks, **options)
    n_tracks, n_boxes = 1 + max(max(ids, default=-1) for ids in found), sum(map(len, found))
    assert n_tracks < n_boxes, "something is linked"


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

    assert peak_bytes(2000) < 1.2 * peak_bytes(200)


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
    """Of a motion as of looks: both lead from a side of 20 px to one of 30, or of 13.4."""
    there = boxes((115, 100), side=side)
    assert link([boxes((100, 100)), there], iou_threshold=0.9, max_jump=1.25)[1] == [linked]
    alike = [[[90, 80]], [[90, 80]]]
    assert link([boxes((100, 100)), there], iou_threshold=0.9, max_jump=1.25, step_seconds=0.4, looks=alike)[1] == [
        linked
    ]


@pytest.mark.parametrize(("step_seconds", "linked"), [(0.25, 0), (0.26, 1)])
def test_motion_is_trusted_for_a_quarter_of_a_second(step_seconds, linked):
    assert link([boxes((100, 100)), boxes((120, 100))], max_jump=1.25, step_seconds=step_seconds)[1] == [linked]


@pytest.mark.parametrize(("level", "linked"), [(115, 0), (115.1, 1)])
def test_looks_lead_a_face_on_up_to_a_difference_of_25(level, linked):
    frames, looks = [boxes((100, 100)), boxes((150, 100))], [[[90, 80]], [[level, level - 10]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, looks=looks)[1] == [linked]


@pytest.mark.parametrize(("seconds", "shift", "linked"), [(0.3, 60, 0), (0.3, 60.1, 1), (1, 80, 0), (1, 80.1, 1)])
def test_looks_reach_ten_sides_a_second_and_four_in_all(seconds, shift, linked):
    frames, looks = [boxes((100, 100)), boxes((100 + shift, 100))], [[[90, 80]], [[90, 80]]]
    assert link(frames, max_jump=1.25, step_seconds=seconds, looks=looks)[1] == [linked]


@pytest.mark.parametrize(("rival", "linked"), [(70, [0, 1]), (69, [1, 2])])
def test_looks_part_a_pair_when_another_is_alike_by_less_than_seven_tenths_of_the_difference(rival, linked):
    """The first box overlaps the track and differs by 100; the second is in reach of a walk, and differs less."""
    frames = [boxes((100, 100)), boxes((100, 100), (150, 100))]
    looks = [[[0]], [[100], [rival]]]
    assert link(frames, max_jump=1.25, step_seconds=0.4, looks=looks)[1] == linked


def test_what_a_track_remembers_is_half_of_what_was_seen_last():
    still = boxes((100, 100))
    # remembered: 40, then 60 (half of 80); what comes differs by 25 from that, by 5 from what was seen last
    far = [boxes((100, 100)), still, boxes((150, 100))]
    assert link(far, max_jump=1.25, step_seconds=0.4, looks=[[[40]], [[80]], [[85]]])[2] == [0]
    assert link(far, max_jump=1.25, step_seconds=0.4, looks=[[[40]], [[80]], [[86]]])[2] == [1]


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
