"""Face tracks of rendered scenes against their truth, from files to tracks, however sparsely frames are sampled."""

from collections import defaultdict

import numpy as np
import pytest

from preprocess.face.tracks import box_iou
from preprocess.faces import FacesSettings, track_shard
from preprocess.frames import FramesSettings, sample_shard
from preprocess.index import index_videos
from preprocess.settings.index import IndexSettings
from preprocess.store.tables import read_rows
from preprocess.synthetic import SyntheticSettings, make_collection
from preprocess.synthetic.clip import KINDS
from preprocess.video.outcomes import OK

N_FRAMES = 24
COLLECTION = SyntheticSettings(n_sources=4, n_frames=N_FRAMES, fakes_per_source=1, extras=False, n_scenes=2)
# clips have 15 to 25 frames a second: frames lie 0.04 to 0.4 s apart
N_SAMPLES = (24, 12, 6, 4)
# a person of whom less can be seen need not be found
SEEN = 0.4


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Root, index rows of the scenes, and truth: {path: {frame: {person: (box, visible, scene)}}}."""
    folder = tmp_path_factory.mktemp("scenes")
    make_collection("celebdf", folder / "raw", folder / "truth", COLLECTION, 2)
    truth = defaultdict(lambda: defaultdict(dict))
    for row in read_rows(folder / "truth/truth.parquet"):
        box = np.array([row[side] for side in ("x0", "y0", "x1", "y1")])
        truth[row["path"]][row["frame_index"]][row["track_id"]] = (box, row["visible"], row["scene"])
    videos = index_videos("d", "celebdf", folder / "raw", 1, IndexSettings())
    return folder / "raw", [video for video in videos if kind_of(truth[video["path"]]) in KINDS[-3:]], truth


def kind_of(frames) -> str:
    """What a video shows, told from its truth alone."""
    people = [person for frame in frames.values() for person in frame.values()]
    if any(scene for _, _, scene in people):
        return "cut"
    if any(visible == 0 for _, visible, _ in people):
        return "hidden"
    return "crossing" if any(len(frame) > 1 for frame in frames.values()) else "one"


@pytest.fixture(scope="module", params=N_SAMPLES)
def tracked(request, collection):
    """For each video: its kind, truth, and faces by sampled frame as (track, box)."""
    root, videos, truth = collection
    frames = sample_shard(videos, root, FramesSettings(n_frames=request.param), workers=1)
    faces = track_shard(videos, frames, root, FacesSettings(), device="cpu", workers=1)
    found = {video["video_id"]: defaultdict(list) for video in videos}
    for row in faces:
        entries = found[row["video_id"]][row["frame_index"]]
        if row["status"] == OK:
            entries.append((row["track_id"], np.array([row[side] for side in ("x0", "y0", "x1", "y1")])))
    return [(kind_of(truth[video["path"]]), truth[video["path"]], found[video["video_id"]]) for video in videos]


def people_of_tracks(truth, found):
    """{track: {person: sampled frames in which the track's box shows the person}}."""
    people = defaultdict(lambda: defaultdict(list))
    for frame, faces in found.items():
        seen = {person: box for person, (box, visible, _) in truth[frame].items() if visible >= SEEN}
        for track, box in faces:
            overlap = box_iou(box, np.stack(list(seen.values())))[0]
            assert overlap.max() >= 0.3, f"frame {frame}: track {track} shows no face"
            people[track][list(seen)[int(overlap.argmax())]].append(frame)
    return people


def test_no_track_holds_two_people_whether_they_cross_or_a_cut_changes_them(tracked):
    kinds = [kind for kind, _, _ in tracked]
    assert sorted(kinds) == sorted(KINDS[-3:] * COLLECTION.n_scenes)
    for kind, truth, found in tracked:
        people = people_of_tracks(truth, found)
        assert all(len(shown) == 1 for shown in people.values()), f"{kind}: {dict(people)}"
        assert {person for shown in people.values() for person in shown} == ({0} if kind == "hidden" else {0, 1})


def test_people_who_cross_are_found_again_on_the_other_side(tracked):
    for kind, truth, found in tracked:
        if kind != "crossing" or len(found) == N_FRAMES:  # sampled so, a face is hidden for longer than max_gap
            continue
        people = people_of_tracks(truth, found)
        for person in (0, 1):
            # a face that is half hidden may be found as a short track of its own
            seen = {frame: track for track, shown in people.items() for frame in shown[person]}
            first, last = min(seen), max(seen)
            assert seen[first] == seen[last], f"person {person}: {seen}"
            places = [truth[frame][person][0][[0, 2]].mean() for frame in (first, last)]
            assert abs(places[0] - places[1]) > 100, "from one side to the other"


def test_a_cut_begins_a_new_track_in_the_same_place(tracked):
    for kind, truth, found in tracked:
        if kind != "cut":
            continue
        tracks = [set(), set()]
        for frame, faces in found.items():
            (scene,) = {scene for _, _, scene in truth[frame].values()}
            tracks[scene] |= {track for track, _ in faces}
        assert all(len(of_scene) == 1 for of_scene in tracks)
        assert not tracks[0] & tracks[1]


def test_a_face_hidden_for_a_moment_keeps_its_track(tracked):
    for kind, truth, found in tracked:
        if kind != "hidden":
            continue
        hidden = [frame for frame in found if truth[frame][0][1] == 0]
        assert all(not found[frame] for frame in hidden), "nothing is found on the sheet of paper"
        tracks = {track for faces in found.values() for track, _ in faces}
        assert len(tracks) == (1 if len(hidden) <= FacesSettings().max_gap else 2)
        if len(found) == 12:
            assert hidden, "the gap is met, not stepped over"
