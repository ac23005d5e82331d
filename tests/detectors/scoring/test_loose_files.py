"""What a file that lies anywhere is, by its name or by its content."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from detectors.scoring.loose_files import StageSettings, find_faces
from helpers.grey_videos import grey_frames, write_video
from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is found in files of nobody whose names tell what they are, tell nothing, or tell something else."""
    folder = tmp_path_factory.mktemp("files")
    video = write_video(folder / "a.mp4", grey_frames(3)).read_bytes()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "b.png")
    picture = (folder / "b.png").read_bytes()
    contents = {"c": video, "d": picture, "e.tmp": video, "f.tmp": picture, "g.tmp": b"neither", "h.png": video}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "empty").mkdir()
    files = [*sorted(path for path in folder.iterdir() if path.is_file()), folder / "absent.mp4", folder / "empty"]
    settings = StageSettings(FramesSettings(n_frames=2), FacesSettings(), CropsSettings())
    return files, find_faces(files, tmp_path_factory.mktemp("store"), settings, device="cpu", workers=1)


def test_a_name_that_tells_neither_leaves_it_to_the_content(found):
    files, faces = found
    told = {path.name: (row["status"], row["kind"]) for path, row in zip(files, faces.videos, strict=True)}
    assert told == {
        **dict.fromkeys(("a.mp4", "c", "e.tmp"), ("ok", "video")),
        **dict.fromkeys(("b.png", "d", "f.tmp"), ("ok", "image")),
        **dict.fromkeys(("g.tmp", "h.png"), ("unreadable", None)),
        **dict.fromkeys(("absent.mp4", "empty"), ("missing", None)),
    }


def test_a_file_is_a_row_with_its_number_and_what_it_holds(found):
    files, faces = found
    assert [row["video_id"] for row in faces.videos] == [f"{number:06d}" for number in range(len(files))]
    assert [row["path"] for row in faces.videos] == [str(path) for path in files]
    assert [row["video_id"] for row in faces.ledger] == [row["video_id"] for row in faces.videos]
    assert [row["n_frames"] for row in faces.videos[:2]] == [3, 1]
    assert (faces.videos[1]["height"], faces.videos[1]["width"], faces.videos[1]["codec"]) == (40, 60, "png")
    assert {row["status"] for row in faces.ledger} == {"no_face", "unreadable", "missing"}
    messages = [row["message"] for row in faces.videos[-2:]]
    assert "no such file" in messages[0]
    assert "holds no file" in messages[1]
