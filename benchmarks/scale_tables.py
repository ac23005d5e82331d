"""Samples, evaluation, status and index at the size of all published videos: `python benchmarks/scale_tables.py WORK`.

The files of the stages are generated, whole but without pixels: a data set `c` of 467 shards of 300 videos with 29 face
crops each, 140,100 videos and 4,062,900 crops, of which some were lost on the way. The project's own programs then
run on them in processes of their own: `preprocess.samples`, `workflow.status`, `detectors.evaluate` on
generated scores of every sample, and the opening of the samples by training. The index runs on as many hard links to
one tiny clip (`--index`), so that what it costs beside reading the videos shows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import yaml
from measure import command_cost

from preprocess.running.settings import settings_json
from preprocess.store import versions
from preprocess.store.crop_file import Crop, write_crops
from preprocess.store.mask_file import CropMasks, write_masks
from preprocess.store.origin import Origin
from preprocess.store.schemas import FACES, FRAMES, INDEX, LANDMARKS, PREDICTIONS
from preprocess.store.shards import shard_names
from preprocess.store.tables import read_table, write_table
from preprocess.synthetic.encode import write_video
from preprocess.video.outcomes import NO_FACE, OK, UNDECODED, UNREADABLE
from workflow.config import resolve

N_VIDEOS = 300  # a shard
N_FRAMES = 32
N_WITH_FACE = 29
# of the videos of a shard: these are lost in the index, while frames are sampled, and while faces are searched for
LOST_IN_INDEX, LOST_IN_FRAMES, LOST_IN_FACES = 2, 1, 3


def video_ids(shard: str) -> list[str]:
    """Ids like DFDC's: one in six videos is real."""
    return [
        f"c/{'fake' if number % 6 else 'real'}/original/part_{shard}/{number:010d}.mp4" for number in range(N_VIDEOS)
    ]


def template_rows() -> dict[str, list[dict]]:
    """Rows of the list, the frames, the faces and the landmarks of one shard; `video_id` holds the video's number."""
    lost = iter(range(N_VIDEOS))
    unreadable = [next(lost) for _ in range(LOST_IN_INDEX)]
    no_frames = [next(lost) for _ in range(LOST_IN_FRAMES)]
    no_face = [next(lost) for _ in range(LOST_IN_FACES)]
    videos, frames, faces, landmarks = [], [], [], []
    for number in range(N_VIDEOS):
        fake, readable = bool(number % 6), number not in unreadable
        outcome = (
            {"status": OK, "message": ""} if readable else {"status": UNREADABLE, "message": "no decoder opens it"}
        )
        videos.append(
            {"video_id": number, "dataset": "c", "path": f"{number:010d}.mp4", "kind": "video", "label": int(fake)}
            | {"method": "fake" if fake else "real", "compression": "original", "split": "test"}
            | {"identities": [f"id{number % 97}"], **outcome}
        )
        if not readable:
            continue
        row = {"video_id": number, "message": ""}
        if number in no_frames:
            frames.append(row | {"status": UNDECODED, "message": "the file ends in its header"})
            continue
        for frame in range(N_FRAMES):
            here = row | {"frame_index": 9 * frame, "pts_seconds": 0.3 * frame, "status": OK}
            frames.append(here)
            if number in no_face or frame >= N_WITH_FACE:
                faces.append(here | {"status": NO_FACE})
                continue
            box = {"x0": 300.0, "y0": 200.0, "x1": 470.0 + frame, "y1": 410.0}
            faces.append(here | box | {"track_id": 0, "score": 0.999, "points": [350.0, 280.0] * 5})
            landmarks.append(
                {"video_id": number, "frame_index": 9 * frame, "track_id": 0, "crop_row": len(landmarks), "status": OK}
            )
    return {"index": videos, "frames": frames, "faces": faces, "landmarks": landmarks}


def template_crops(faces: list[dict]) -> list[Crop]:
    """Crops of the faces, without pixels."""
    affine = np.array([[1, 0, 250], [0, 1, 150]], np.float64)
    return [
        Crop(
            video_id=str(row["video_id"]),
            frame_index=row["frame_index"],
            pts_seconds=row["pts_seconds"],
            track_id=0,
            box=np.array([row["x0"], row["y0"], row["x1"], row["y1"]], np.float32),
            score=row["score"],
            size=(300, 300),
            crop_to_frame=affine,
            padding_px=(0, 0, 0, 0),
            encoded=b"0",
            sharpness=20.0,
        )
        for row in faces
        if row["status"] == OK
    ]


def make_store(data: Path, n_shards: int, settings: dict[str, str]) -> None:
    """Every shard's files of every stage; the shards differ in their ids alone."""
    rows = template_rows()
    schemas = {"index": INDEX, "frames": FRAMES, "faces": FACES, "landmarks": LANDMARKS}
    numbers = {stage: np.array([row["video_id"] for row in of_stage]) for stage, of_stage in rows.items()}
    tables = {
        stage: pa.Table.from_pylist([{**row, "video_id": None} for row in rows[stage]], schema=schema)
        for stage, schema in schemas.items()
    }
    crops = template_crops(rows["faces"])
    first = {stage: data / stage / "c" / "template.h5" for stage in ("crops", "masks")}
    write_crops(first["crops"], crops, Origin("c", "crops", settings["crops"], versions.CROPS))
    masks = (CropMasks(b"0", b"0", "mask_video") for _ in crops)
    write_masks(first["masks"], masks, Origin("c", "masks", settings["masks"], versions.MASKS))
    with_crops = list(dict.fromkeys(int(crop.video_id) for crop in crops))
    indexes = []
    for shard in shard_names(n_shards):
        ids = np.array(video_ids(shard))
        for stage, table in tables.items():
            column = pa.array(ids[numbers[stage]], pa.string())
            table = table.set_column(0, "video_id", column)
            if stage == "index":
                for name, values in (("source_group", column), ("shard", pa.array([shard] * len(table)))):
                    table = table.set_column(table.column_names.index(name), name, values)
                indexes.append(table)
            origin = Origin("c", stage, settings[stage], getattr(versions, stage.upper()), shard)
            write_table(data / stage / "c" / f"{shard}.parquet", table, schemas[stage], origin)
        for template in first.values():
            shutil.copyfile(template, template.with_stem(shard))
        with h5py.File(first["crops"].with_stem(shard), "r+") as file:
            file["videos/video_id"][:] = ids[with_crops].astype(object)
    write_table(
        data / "index/c.parquet",
        pa.concat_tables(indexes),
        INDEX,
        Origin("c", "index", settings["index"], versions.INDEX),
    )
    for template in first.values():
        template.unlink()


def make_predictions(samples: Path, output: Path) -> None:
    """A score for every sample: fakes score higher, and the faces of a video alike."""
    table = read_table(samples, [name for name in PREDICTIONS.names if name != "score"])
    rng = np.random.default_rng(0)
    video = table["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    label = table["label"].to_numpy()
    logit = rng.normal(size=video.max() + 1)[video] + rng.normal(scale=0.7, size=len(video)) + 2.0 * label - 1.0
    table = table.append_column("score", pa.array(1 / (1 + np.exp(-logit)), pa.float32()))
    made_by = {"experiment": "e", "seed": 0, "detector": "ucf", "train": ["c"], "split": "test"}
    made_by |= {"frame_threshold": 0.5, "video_threshold": 0.5, "aggregation": "mean"}
    write_table(output, table, PREDICTIONS, Origin("c", "predict", settings_json(made_by), versions.PREDICT))


def make_raw(root: Path, n_videos: int) -> None:
    """A folder of hard links to tiny clips: 25 frames of 160 x 160 px, 10,000 links to one clip."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(n_videos):
        if number % 10_000 == 0:
            # file systems allow few tens of thousands of links to one file
            clip = root / f"{number:07d}.mp4"
            write_video(clip, rng.integers(0, 255, (25, 160, 160, 3), dtype=np.uint8), fps=25, crf=40)
        else:
            os.link(clip, root / f"{number:07d}.mp4")


def report(what: str, command: list[object]) -> None:
    """Run a command and print a line of the table."""
    cost = command_cost([str(word) for word in command])
    print(
        f"| {what} | {cost.wall_seconds:.0f} | {cost.cpu_seconds:.0f} | {cost.peak_bytes / 1e6:,.0f} |",
        flush=True,
    )


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the generated store")
    parser.add_argument("--shards", type=int, default=467, help="shards of 300 videos (default: %(default)s)")
    parser.add_argument("--index", action="store_true", help="index as many links to tiny clips, too")
    args = parser.parse_args()
    work = args.work.resolve()
    config = {
        "datasets": {"c": {"layout": "videos", "root": "raw", "n_shards": args.shards, "index": {"label": "real"}}},
        "landmarks": {"predictor": "none"},
    }
    python = [sys.executable, "-m"]
    data, results = work / "data", work / "results/e"
    if not (data / "index/c.parquet").exists():
        make_store(data, args.shards, resolve(config)["c"])
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    samples, ledger = data / "samples/c.parquet", data / "samples/c.ledger.parquet"
    predictions = results / "seed0/predictions/c.parquet"

    print("| what | wall s | CPU-s | peak MB |\n|---|---|---|---|")
    collect = ["--data", data, "--dataset", "c", "--n-shards", args.shards, "--output", samples, "--ledger", ledger]
    report("samples and ledger", [*python, "preprocess.samples", *collect])
    report("status", [*python, "workflow.status", "--config", work / "config.yaml", "--folder", work])
    opening = f"from detectors.data.samples import Samples; print(len(Samples.read(['{samples}'])))"
    report("opening the samples to train", [sys.executable, "-c", opening])
    make_predictions(samples, predictions)
    n_scores = len(read_table(predictions, ["score"]))
    collections = json.dumps({"c": {"layout": "celebdf", "n_shards": args.shards}})
    leakage = ["--experiment", "e", "--index", data / "index", "--datasets", collections, "--train", "c", "--test", "c"]
    leakage += ["--allow", "video", "source", "identity", "--output", results / "leakage.csv"]
    report("looking for test videos in the training set", [*python, "detectors.evaluation.leakage", *leakage])
    # the scores choose their own threshold, which costs what choosing it on others would
    evaluate = ["--experiment", "e", "--train", "c", "--predictions", predictions, "--validation", predictions]
    evaluate += ["--ledgers", ledger, "--leakage", results / "leakage.csv"]
    evaluate += ["--output", results / "eval.csv", "--figures", results / "figures"]
    report(f"evaluation of {n_scores:,} scores", [*python, "detectors.evaluate", *evaluate])
    if args.index:
        n_videos = args.shards * N_VIDEOS
        if not (work / "raw").exists():
            make_raw(work / "raw", n_videos)
        index = ["--dataset", "c", "--layout", "videos", "--root", work / "raw", "--n-shards", args.shards]
        index += ["--settings", '{"label": "real"}', "--output", work / "indexed.parquet", "--workers", 2]
        report(f"index of {n_videos:,} tiny clips", [*python, "preprocess.index", *index])
        lists = ["--index", work / "indexed.parquet", "--n-shards", args.shards, "--output", work / "lists"]
        report("cutting the index into lists", [*python, "preprocess.store.shard_lists", *lists])


if __name__ == "__main__":
    main()
