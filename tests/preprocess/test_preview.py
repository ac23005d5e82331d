"""The contact sheet: what it draws, what it says of what it leaves out, and how much it reads for that."""

import cv2
import numpy as np
import pytest

from helpers.programs import run_program
from preprocess import preview
from preprocess.preview import Limits, draw_crop, draw_shard, main
from preprocess.running.cli import UserError
from preprocess.samples import ShardFiles
from preprocess.store.crop_file import Crop, CropReader, write_crops
from preprocess.store.image_codecs import encode_crop, encode_mask
from preprocess.store.mask_file import CropMasks, MaskSource, write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, INDEX, LANDMARKS
from preprocess.store.tables import write_table
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED, UNREADABLE

ORIGIN = Origin("d", "test", "{}", 1, "0000")
BOX = np.array((110, 60, 150, 120), np.float32)
N_FRAMES = 30
LIMITS = Limits(videos=2, tracks=2, columns=3, cell_px=80)
RED, GREEN, WHITE = preview._MASK_COLOUR, preview._LANDMARK_COLOUR, preview._HULL_COLOUR


def crop(video_id, frame, track=0, status=OK):
    image = np.full((100, 80, 3), (90, 100, 110), np.uint8)
    return Crop(
        video_id=video_id,
        frame_index=frame,
        pts_seconds=frame / 25,
        track_id=track,
        box=BOX,
        score=0.9,
        size=(100, 80) if status == OK else (0, 0),
        crop_to_frame=np.array([[1, 0, 90], [0, 1, 40]], np.float64),
        padding_px=(0, 0, 0, 0),
        encoded=encode_crop(image) if status == OK else b"",
        status=status,
        message="" if status == OK else "the frame did not decode",
    )


@pytest.fixture
def files(tmp_path, index_row):
    """Four videos with crops, two tracks in the first, a lost crop in the second; two videos without."""
    names = ["d/real/c23/a", "d/real/c23/日本 é\n", "d/real/c23/c", "d/real/c23/d"]
    n_tracks = dict.fromkeys(names, 1) | {names[0]: 2}
    crops = [crop(name, frame, track) for name in names for frame in range(N_FRAMES) for track in range(n_tracks[name])]
    crops += [crop("d/real/c23/e", 0, 1, UNDECODED), crop("d/real/c23/e", 1, 1)]
    files = ShardFiles.of(tmp_path, "d", "0000")
    write_crops(files.crops, crops, ORIGIN)
    points = np.tile((112.0, 62.0, 148.0, 118.0), 41)[:162]
    rows = [
        {"video_id": one.video_id, "crop_row": row, "landmarks": points if one.status == OK else None, "status": OK}
        for row, one in enumerate(crops)
    ]
    write_table(files.landmarks, rows, LANDMARKS, ORIGIN)
    mask = np.zeros((100, 80), np.uint8)
    cv2.circle(mask, (40, 50), 20, 255, -1)
    drawn = CropMasks(encode_mask(mask), encode_mask(mask), MaskSource.MASK_VIDEO)
    nothing = CropMasks(source=MaskSource.MASK_VIDEO)
    write_masks(files.masks, [drawn if one.status == OK else nothing for one in crops], ORIGIN)
    videos = [index_row(name, name) for name in [*names, "d/real/c23/e", "d/real/c23/faceless"]]
    videos.append(index_row("d/real/c23/broken", "broken", status=UNREADABLE, message="no decoder opens it"))
    write_table(files.index, videos, INDEX, ORIGIN)
    faces = [{"video_id": "d/real/c23/faceless", "frame_index": frame, "status": NO_FACE} for frame in range(7)]
    faces += [{"video_id": "d/real/c23/a", "frame_index": frame, "status": OK} for frame in range(N_FRAMES)]
    write_table(files.faces, faces, FACES, ORIGIN)
    return files


def shows(picture, colour):
    return (picture == colour).all(axis=-1).any()


def test_a_crop_is_drawn_with_what_is_known_of_it():
    image = np.full((100, 80, 3), 100, np.uint8)
    mask = np.zeros((100, 80), np.uint8)
    mask[40:60, 30:50] = 255
    box, colour = np.array((20, 20, 60, 80)), (0, 114, 178)
    bare = draw_crop(image, box, None, None, None, colour, 160)
    assert bare.shape == (160, 160, 3)
    assert (bare[32, 32:96] == colour).all(), "the upper edge of the box, at the scale of the picture"
    assert not shows(bare, GREEN)
    assert not shows(bare, WHITE)
    assert shows(draw_crop(image, box, np.array([[40.0, 50.0]]), None, None, colour, 160), GREEN)
    assert shows(draw_crop(image, box, None, mask, None, colour, 160), WHITE)
    tinted = draw_crop(image, box, None, None, mask, colour, 160)
    assert tinted[80, 64, 0] > tinted[80, 64, 1] + 30, "red where it was manipulated"
    assert (tinted[10, 10] == 100).all()


def test_shard_is_drawn_within_its_limits(files):
    picture = draw_shard(files, LIMITS)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (preview._LABEL_PX + 3 * 80, 3)
    assert 2 * 80 < picture.shape[0] < 4 * 80 + 12 * 20
    assert shows(picture, GREEN)
    assert shows(picture, WHITE)
    everything = draw_shard(files, Limits(videos=9, tracks=9, columns=3, cell_px=80))
    assert 6 * 80 < everything.shape[0] < 7 * 80 + 16 * 20


def test_only_what_is_drawn_is_read(files, monkeypatch):
    read = []
    image = CropReader.image
    monkeypatch.setattr(CropReader, "image", lambda crops, row: read.append(row) or image(crops, row))
    draw_shard(files, LIMITS, only="c23/a")
    assert len(read) == 2 * 3
    assert {0, 2 * N_FRAMES - 1} <= set(read), "from the first to the last crop"


def test_videos_without_crops_say_why(files):
    with CropReader(files.crops) as crops:
        lines = preview._videos_without_crops(files, set(crops.video_id), "")
    assert lines == ["d/real/c23/broken   unreadable: no decoder opens it", "d/real/c23/faceless   7 frames no_face"]
    assert draw_shard(files, LIMITS, only="broken").shape[0] < 80 * 2


def test_stages_that_did_not_run_are_left_out(files):
    for path in (files.landmarks, files.masks, files.faces, files.index):
        path.unlink()
    picture = draw_shard(files, LIMITS)
    assert not shows(picture[100:], GREEN)
    assert picture.shape[0] > 2 * 80


def test_a_lost_crop_says_why(files):
    lost = draw_shard(files, LIMITS, only="c23/e")
    assert not shows(lost[-80:, preview._LABEL_PX : preview._LABEL_PX + 80], GREEN)
    assert (lost[-80:, preview._LABEL_PX : preview._LABEL_PX + 80] == preview._TEXT).all(axis=-1).any()
    assert shows(lost[-80:, preview._LABEL_PX + 80 :], GREEN)


@pytest.mark.parametrize("stage", ["landmarks", "masks"])
def test_files_of_different_runs_are_refused(files, stage):
    write_crops(files.crops, [crop("d/real/c23/a", 0)], ORIGIN)
    if stage == "masks":
        files.landmarks.unlink()
    with pytest.raises(UserError, match=rf"{stage}.*different runs"):
        draw_shard(files, LIMITS)


def test_command_line(files, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    run_program(main, "d", "--data", tmp_path, "--output", output, "--cell-px", 64, "--videos", 1)
    assert cv2.imread(str(output)).shape[1] == preview._LABEL_PX + 8 * 64
    assert str(output) in capsys.readouterr().out
    with pytest.raises(UserError, match="no video whose id holds 'nobody'"):
        run_program(main, "d", "--data", tmp_path, "--only", "nobody")
    with pytest.raises(UserError, match="--videos is 0; the smallest is 1"):
        run_program(main, "d", "--data", tmp_path, "--videos", 0)
    with pytest.raises(UserError, match="0007"):
        run_program(main, "d", "0007", "--data", tmp_path)
