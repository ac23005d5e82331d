"""Choose about so many faces of a video, shared among its tracks in proportion to their length."""

from __future__ import annotations

from collections import Counter

import numpy as np

from preprocess.video.outcomes import OK, UNUSED


def share_faces(track_lengths: dict[int, int], n_faces: int) -> dict[int, int]:
    """How many faces each track of a video gives, so that together they are about `n_faces`.

    A track's share is in proportion to its length, rounded half up: of 50 faces, tracks of 100 and 200 frames give
    17 and 33. Every track gives one at least, so many short tracks give more than `n_faces` together.

    Args:
        track_lengths: Faces of each track, by track id; each at least 1.
        n_faces: Faces wanted of the video, at least 1.

    Returns:
        Faces to take, by track id; all of them where the video has no more than `n_faces`.
    """
    total = sum(track_lengths.values())
    if total <= n_faces:
        return dict(track_lengths)
    # whole numbers: (2 a + b) // 2 b is a / b rounded half up
    return {track: max(1, (2 * n_faces * length + total) // (2 * total)) for track, length in track_lengths.items()}


def spread(length: int, n: int) -> np.ndarray:
    """Evenly spread positions: `length` items are cut into `n` equal parts, and the middle of each is taken.

    Args:
        length: How many items there are.
        n: How many to take.

    Returns:
        (min(n, length),) int64 positions, ascending and without repetition.
    """
    if n >= length:
        return np.arange(length)
    return (2 * np.arange(n) + 1) * length // (2 * n)


def leave_out(faces: list[dict], n_faces: int) -> list[dict]:
    """Mark the faces of one video that are more than wanted as `unused`.

    Args:
        faces: Its rows of `schemas.FACES`, in order of the frames.
        n_faces: Faces wanted of the video; see `share_faces` and `spread`.

    Returns:
        The same rows in the same order. Of those with status `ok`, the ones not chosen have the status `unused` and a
        message; they keep their box, track and score.
    """
    lengths = Counter(face["track_id"] for face in faces if face["status"] == OK)
    wanted = share_faces(lengths, n_faces)
    chosen = {track: set(spread(lengths[track], wanted[track]).tolist()) for track in lengths}
    message = f"found, but left out by faces_per_video ({n_faces})"
    seen: Counter = Counter()
    marked = []
    for face in faces:
        if face["status"] == OK:
            track = face["track_id"]
            if seen[track] not in chosen[track]:
                face = {**face, "status": UNUSED, "message": message}
            seen[track] += 1
        marked.append(face)
    return marked
