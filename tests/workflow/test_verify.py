"""Whatever happens to a file of the store, `python -m workflow.verify` names it, and what makes it again."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from helpers.finished_run import start_snakemake, write_config
from helpers.fork_server import run_python
from helpers.small_run import ROOT
from preprocess.running.cli import UserError
from preprocess.store import checksum
from preprocess.store.crop_file import Crop, CropReader, CropRows, write_crops
from preprocess.store.hdf5 import create_h5
from preprocess.store.origin import Origin, read_origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS, LEDGER, PREDICTIONS, SAMPLES
from preprocess.store.stages import SHARD_STAGES
from preprocess.store.tables import read_rows, read_table, write_table
from preprocess.video.outcomes import OK
from workflow.checks import dataset as dataset_checks
from workflow.checks.report import DAMAGED, DISAGREES, MISSING, STALE
from workflow.verify import describe, rebuild_commands, verify_store

FILES = (
    "data/index/c.parquet",
    "data/samples/c.parquet",
    "data/samples/c.ledger.parquet",
    *(f"data/{stage}/c/000{shard}.parquet" for stage in ("index", "frames", "faces", "landmarks") for shard in (0, 1)),
    *(f"data/{stage}/c/000{shard}.h5" for stage in ("crops", "masks") for shard in (0, 1)),
    "results/one/seed0/predictions/c.parquet",
    "results/one/seed0/detector.ckpt",
)


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of the finished run, to be spoilt; the current folder. Shards are checked in this process."""
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(dataset_checks, "map_videos", lambda check, items, **_: (check(item) for item in items))
    return folder


def verify() -> dict[str, str]:
    """File → problem, of the current folder."""
    return {finding.file: finding.problem for finding in verify_all().findings}


def verify_all():
    return verify_store(yaml.safe_load(Path("config.yaml").read_text()), Path("data"), Path("results"), workers=2)


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


# --- checksums ---------------------------------------------------------------------------------


@pytest.fixture
def small_files(tmp_path):
    """A table and an HDF5 file of a few kilobytes."""
    origin = Origin("d", "test", '{"a": 1}', 1, "0000")
    rows = [{"name": f"video {number}", "x": number} for number in range(50)]
    write_table(tmp_path / "a.parquet", rows, pa.schema([("name", pa.string()), ("x", pa.int64())]), origin)
    with create_h5(tmp_path / "a.h5", origin) as file:
        file["x"] = np.arange(500)
        file.create_dataset("text", data=np.array(["a", "b"], object), dtype=h5py.string_dtype())
    return tmp_path / "a.parquet", tmp_path / "a.h5"


def test_new_files_fit_their_checksum_and_are_readable_with_plain_libraries(small_files):
    table, arrays = small_files
    assert checksum.verify(table) is True
    assert checksum.verify(arrays) is True
    assert pq.read_table(table)["x"].to_pylist() == list(range(50))
    with h5py.File(arrays) as file:
        assert file["x"][:].tolist() == list(range(500))
        assert file["text"].asstr()[:].tolist() == ["a", "b"]


@pytest.mark.parametrize("number", [0, 1])
def test_every_bit_that_turns_is_found(small_files, number):
    path = small_files[number]
    good = path.read_bytes()
    rng = np.random.default_rng(number)
    places = [*range(16), *range(len(good) - 16, len(good)), *rng.integers(len(good), size=300)]
    unseen = []
    for place in places:
        flip(path, place, int(rng.integers(8)))
        if checksum.verify(path):
            unseen.append(place)
        path.write_bytes(good)
    assert unseen == []
    for length in (0, 4, 8, 600, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        assert checksum.verify(path) is False or length == 8, length
    path.write_bytes(good + b"\0")
    assert not checksum.verify(path)


def test_files_from_before_checksums_have_none_and_are_read(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "old.parquet")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["x"] = [1, 2]
    assert checksum.verify(tmp_path / "old.parquet") is None
    assert checksum.verify(tmp_path / "old.h5") is None
    assert read_table(tmp_path / "old.parquet")["x"].to_pylist() == [1, 2]


def test_a_bit_that_turns_in_the_rows_of_a_table_stops_who_reads_it(small_files):
    path = small_files[0]
    flip(path, pq.read_metadata(path).row_group(0).column(0).data_page_offset + 60, 3)
    with pytest.raises(UserError, match=r"a\.parquet"):
        read_table(path)


def test_a_crop_that_does_not_decode_is_named_by_who_reads_it(finished, tmp_path):
    path = Path(shutil.copy(finished.folder / "data/crops/c/0000.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        begin, end = file["images/offset"][:2]
        file["images/encoded"][begin:end] = 0
    with pytest.raises(UserError, match=r"crop 0 of .*0000\.h5 is damaged .*workflow\.verify"):
        CropRows(path).read(0)
    with CropReader(path) as crops, pytest.raises(UserError, match=r"crop 0 of .*0000\.h5 is damaged"):
        crops.image(0)


def test_verify_knows_every_stage_that_has_a_file_for_each_shard():
    tables = {name for name, stage in SHARD_STAGES.items() if stage.shard_suffix == "parquet"}
    assert dataset_checks.SCHEMAS.keys() == tables
    compared = {comparison.stage: comparison.sources for comparison in dataset_checks.COMPARISONS}
    assert list(compared) == [name for name in SHARD_STAGES if name != "index"]  # that one is cut from its table
    for stage, sources in compared.items():
        assert sources, stage
        assert all(list(SHARD_STAGES).index(source) < list(SHARD_STAGES).index(stage) for source in sources)


# --- the store ---------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_finished_run_and_all_its_files_are_looked_at(run):
    checked = verify_all()
    assert checked.findings == []
    assert checked.without_checksum == []
    assert checked.n_files == len(FILES)
    stored = [
        path
        for path in [*run.glob("data/**/*"), *run.glob("results/**/predictions/*")]
        if path.is_file() and path.name[0] != "."
    ]
    assert {str(path.relative_to(run)) for path in stored} == set(FILES) - {"results/one/seed0/detector.ckpt"}
    assert "17 files checked: nothing wrong" in describe(checked, [])


@pytest.mark.parametrize("seed", range(4))
def test_a_bit_that_turns_anywhere_is_found_or_harmless(run, finished, seed):
    """A bit in every file at once: 68 trials."""
    rng = np.random.default_rng(seed)
    for name in FILES:
        flip(run / name, int(rng.integers((run / name).stat().st_size)), int(rng.integers(8)))
    found = verify()
    assert {found.get(name) for name in FILES if not name.endswith(".ckpt")} == {DAMAGED}
    if "results/one/seed0/detector.ckpt" not in found:  # in the padding between its parts
        spoilt, good = (
            torch.load(folder / "results/one/seed0/detector.ckpt", weights_only=True)
            for folder in (run, finished.folder)
        )
        assert {**spoilt, "state_dict": 0} == {**good, "state_dict": 0}
        assert all(torch.equal(value, good["state_dict"][name]) for name, value in spoilt["state_dict"].items())


@pytest.mark.parametrize("length", ["none", "a part"])
def test_files_cut_short_are_found(run, length):
    for name in FILES:
        data = (run / name).read_bytes()
        (run / name).write_bytes(b"" if length == "none" else data[: len(data) * 2 // 3])
    assert verify() == dict.fromkeys(FILES, DAMAGED)


def test_files_in_each_others_place_are_found(run):
    swapped = [name for name in FILES if "/000" in name]
    for name in swapped:
        if "0000" in name:
            other = run / name.replace("0000", "0001")
            (run / name).rename(run / "kept")
            other.rename(run / name)
            (run / "kept").rename(other)
    assert verify() == dict.fromkeys(swapped, STALE)


@pytest.mark.parametrize("name", [name for name in FILES if "0001" not in name and "predictions" not in name])
def test_a_file_that_is_gone_is_found(run, name):
    (run / name).unlink()
    found = verify()
    assert found == {name: MISSING}


def test_what_has_not_been_made_yet_is_no_mistake(run):
    shutil.rmtree(run / "results")
    for name in ("samples/c.parquet", "samples/c.ledger.parquet", "masks/c/0001.h5", "landmarks/c/0001.parquet"):
        (run / "data" / name).unlink()
    assert verify() == {}
    # of a shard that has come no further than its frames, their source
    for name in ("faces/c/0001.parquet", "crops/c/0001.h5", "index/c/0001.parquet"):
        (run / "data" / name).unlink()
    (finding,) = verify_all().findings
    assert (finding.file, finding.problem) == ("data/index/c/0001.parquet", MISSING)
    assert finding.message == "is absent, though data/frames/c/0001.parquet was made from it"
    shutil.rmtree(run / "data")
    checked = verify_all()
    assert (checked.findings, checked.notes) == ([], ["c: nothing has been made yet"])


def test_other_settings_than_the_config_asks_for_are_found(run):
    write_config(run, run.parent / "raw", frames={"n_frames": 4}, crops={"margin": 0.25})
    assert verify() == {
        f"data/{stage}/c/000{shard}.{suffix}": STALE
        for stage, suffix in (("frames", "parquet"), ("crops", "h5"))
        for shard in (0, 1)
    }
    (message,) = {finding.message for finding in verify_all().findings if "frames" in finding.file}
    assert message == "was made with n_frames 3, the config asks for 4"


def test_a_detector_of_other_settings_or_samples_is_found(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["experiments"]["one"]["settings"]["epochs"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert verify() == {"results/one/seed0/detector.ckpt": STALE}


def test_files_of_another_version_are_found(run):
    path = Path("data/frames/c/0000.parquet")
    write_table(path, read_table(path), FRAMES, replace(read_origin(path), version=99))
    (finding,) = verify_all().findings
    assert (finding.file, finding.problem) == (str(path), STALE)
    assert "version 99" in finding.message


def change_table(name: str, schema: pa.Schema, change) -> str:
    """Write a table again with its rows changed, and with a checksum that fits."""
    path = Path("data") / name
    write_table(path, change(read_rows(path)), schema, read_origin(path))
    return str(path)


def moved(rows: list[dict], key: str, by: object = 1) -> list[dict]:
    row = next(number for number, row in enumerate(rows) if row["status"] == OK)
    return [*rows[:row], rows[row] | {key: rows[row][key] + by}, *rows[row + 1 :]]


def rewrite_crops(change) -> str:
    path = Path("data/crops/c/0000.h5")
    with CropReader(path) as crops, h5py.File(path) as file:
        offset, encoded = file["images/offset"][:], file["images/encoded"][:]
        columns = ("video_id", "frame_index", "pts_seconds", "track_id", "box", "score", "size", "crop_to_frame")
        rest = ("padding_px", "sharpness", "status", "message")
        rows = [
            Crop(
                **{name: getattr(crops, name)[row] for name in columns + rest},
                encoded=encoded[offset[row] : offset[row + 1]].tobytes(),
            )
            for row in range(len(crops))
        ]
        origin = Origin(**{name: crops.attrs[name] for name in Origin.__dataclass_fields__})
    write_crops(path, change(rows), replace(origin, version=int(origin.version)))
    return str(path)


def drop_mask() -> str:
    path = Path("data/masks/c/0000.h5")
    with h5py.File(path) as file:
        sources, attributes = file["mask_source"].asstr()[:], dict(file.attrs)
    with create_h5(path, Origin(**attributes | {"version": int(attributes["version"])})) as file:
        for name in ("hull", "manipulation"):
            blobs = file.create_blobs(name)
            for _ in sources[1:]:
                blobs.append(b"")
            blobs.close()
        file.create_dataset("mask_source", data=sources[1:], dtype=h5py.string_dtype())
    return str(path)


DISAGREEMENTS = {
    "a row less in the index": lambda: change_table("index/c/0000.parquet", INDEX, lambda rows: rows[1:]),
    "another label": lambda: change_table("index/c/0000.parquet", INDEX, lambda rows: moved(rows, "path", "x")),
    "a video less": lambda: change_table(
        "frames/c/0000.parquet", FRAMES, lambda rows: [row for row in rows if row["video_id"] != rows[0]["video_id"]]
    ),
    "a frame twice": lambda: change_table("frames/c/0000.parquet", FRAMES, lambda rows: [*rows, rows[0]]),
    "another frame": lambda: change_table("faces/c/0000.parquet", FACES, lambda rows: moved(rows, "frame_index")),
    "a crop less": lambda: rewrite_crops(lambda crops: crops[1:]),
    "crops out of order": lambda: rewrite_crops(lambda crops: crops[::-1]),
    "another box": lambda: rewrite_crops(lambda crops: [replace(crops[0], box=crops[0].box + 1), *crops[1:]]),
    "an image less": lambda: rewrite_crops(lambda crops: [replace(crops[0], encoded=b""), *crops[1:]]),
    "another track": lambda: change_table(
        "landmarks/c/0000.parquet", LANDMARKS, lambda rows: [rows[0] | {"track_id": 7}, *rows[1:]]
    ),
    "landmarks out of order": lambda: change_table("landmarks/c/0000.parquet", LANDMARKS, lambda rows: rows[::-1]),
    "a mask less": drop_mask,
    "a sample less": lambda: change_table("samples/c.parquet", SAMPLES, lambda rows: rows[1:]),
    "another split": lambda: change_table(
        "samples/c.parquet", SAMPLES, lambda rows: [rows[0] | {"split": "val"}, *rows[1:]]
    ),
    "another outcome": lambda: change_table("samples/c.ledger.parquet", LEDGER, lambda rows: moved(rows, "n_crops")),
    "a score beyond 1": lambda: change_table(
        "../results/one/seed0/predictions/c.parquet",
        PREDICTIONS,
        lambda rows: [rows[0] | {"score": 1.5}, *rows[1:]],
    ),
    "a prediction less": lambda: change_table(
        "../results/one/seed0/predictions/c.parquet", PREDICTIONS, lambda rows: rows[1:]
    ),
}


@pytest.mark.parametrize("change", DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_rows_that_are_not_those_of_the_stage_before_are_found(run, change):
    name = str(Path(change()).resolve().relative_to(run))
    assert verify() == {name: DISAGREES}


def test_files_without_a_checksum_are_counted_and_still_compared(run):
    path = Path("data/frames/c/0000.parquet")
    table = pq.read_table(path)
    pq.write_table(table, path)
    checked = verify_all()
    assert (checked.findings, checked.without_checksum) == ([], [str(path)])
    pq.write_table(table.slice(3), path)
    assert verify() == {str(path): DISAGREES}


def test_the_commands_that_it_names_make_everything_as_it_was(run, finished):
    spoilt = ["data/index/c/0000.parquet", "data/frames/c/0001.parquet", "data/samples/c.parquet"]
    spoilt += ["results/one/seed0/predictions/c.parquet"]
    shutil.copytree(finished.raw, run.parent / "raw")
    for name in spoilt[1:]:
        flip(run / name, 700, 1)
    (run / spoilt[0]).unlink()

    done = run_verify(run, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert {finding["file"] for finding in report["findings"]} == set(spoilt)
    assert [command.split()[3:5] for command in report["commands"]] == [["--forcerun", name] for name in spoilt]
    for command in report["commands"]:
        words = shlex.split(command)
        assert words[:3] == ["snakemake", "--cores", "all"]
        done = start_snakemake(run, *words[3:])
        assert done.returncode == 0, done.stdout[-3000:]
        assert "1 of 1 steps (100%) done" in done.stdout
    assert verify() == {}
    for name in spoilt:
        assert (run / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_a_broken_index_is_made_by_a_call_of_its_own(run):
    flip(run / "data/index/c.parquet", 100, 1)
    checked = verify_all()
    assert rebuild_commands(checked.findings, Path("data"), Path("results")) == ["snakemake --cores all index_videos_c"]


def test_a_detector_without_its_summary_is_made_again(run):
    (run / "results/one/seed0/summary.json").write_text("{")
    checked = verify_all()
    assert rebuild_commands(checked.findings, Path("data"), Path("results")) == [
        "snakemake --cores all --forcerun results/one/seed0/detector.ckpt -- results/one/seed0/detector.ckpt"
    ]


def run_verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workflow.verify", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return run_python(command, cwd=folder, env=environment)


def test_unknown_data_sets_and_configs_are_told(run):
    done = run_verify(run, "d")
    assert done.returncode == 1
    assert "error: data set 'd' is not in the config; it has: c" in done.stderr
    done = run_verify(run, "--config", "no.yaml")
    assert "error: cannot read the config no.yaml" in done.stderr
    assert run_verify(run, "c").returncode == 0
