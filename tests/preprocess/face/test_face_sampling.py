import numpy as np
import pytest

from preprocess.face.sampling import leave_out, share_faces, spread
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED, UNUSED


def test_faces_are_shared_in_proportion_to_length():
    assert share_faces({0: 100, 1: 200}, 50) == {0: 17, 1: 33}
    assert share_faces({0: 300}, 50) == {0: 50}
    assert share_faces({4: 1, 9: 3}, 2) == {4: 1, 9: 2}, "a half is rounded up"


def test_a_short_video_gives_all_and_every_track_gives_one():
    assert share_faces({0: 20, 1: 30}, 50) == {0: 20, 1: 30}
    assert share_faces({0: 1000, 1: 1}, 10) == {0: 10, 1: 1}
    assert share_faces(dict.fromkeys(range(70), 60), 50) == dict.fromkeys(range(70), 1)
    assert share_faces({}, 50) == {}


def test_shares_of_any_video_are_near_their_part_and_never_more_than_there_are():
    rng = np.random.default_rng(0)
    for _ in range(500):
        lengths = dict(enumerate(rng.integers(1, 400, rng.integers(1, 12)).tolist()))
        n_faces = int(rng.integers(1, 100))
        shares, total = share_faces(lengths, n_faces), sum(lengths.values())
        for track, length in lengths.items():
            exact = min(length, n_faces * length / total)
            assert 1 <= shares[track] <= length
            assert shares[track] == 1 or abs(shares[track] - exact) <= 0.5
        assert sum(shares.values()) <= n_faces + len(lengths)


@pytest.mark.parametrize(
    ("length", "n", "expected"),
    [(10, 5, [1, 3, 5, 7, 9]), (10, 1, [5]), (3, 5, [0, 1, 2]), (7, 2, [1, 5]), (0, 3, [])],
)
def test_spread_takes_the_middle_of_equal_parts(length, n, expected):
    assert spread(length, n).tolist() == expected


def test_spread_never_repeats():
    assert all(len(set(spread(length, n).tolist())) == min(n, length) for length in range(60) for n in range(1, 60))


def test_faces_left_out_keep_their_row_and_box():
    def row(frame_index, track_id, status=OK):
        return {"frame_index": frame_index, "track_id": track_id, "x0": 1.0, "status": status, "message": ""}

    # two faces to a frame, with a dropped box and a broken frame in between
    faces = [row(index, track) for index in range(6) for track in (3, 8)]
    faces[4:4] = [row(2, None, NO_FACE), row(2, None, UNDECODED)]
    marked = leave_out(faces, 4)
    assert [row | {"status": "", "message": ""} for row in marked] == [row | {"status": ""} for row in faces]
    used = [(row["frame_index"], row["track_id"]) for row in marked if row["status"] == OK]
    assert used == [(1, 3), (1, 8), (4, 3), (4, 8)]
    assert [row["status"] for row in marked if row["track_id"] is None] == [NO_FACE, UNDECODED]
    unused = [row for row in marked if row["status"] == UNUSED]
    assert len(unused) == 8
    assert {row["message"] for row in unused} == {"found, but left out by faces_per_video (4)"}
    assert leave_out(faces, 12) == faces
