"""What the stages cost next to bare decoding: `python benchmarks/preprocess_cost.py WORK CLIP... --predictor FILE.dat`.

From each clip (film, with faces; drawn content decodes too cheaply to compare with) two collections are made in
WORK, once: one like FaceForensics++ (a real video and a fake of each of four methods, with mask videos, H.264 at crf
23, 300 frames) and one of the same videos with nothing that pairs them, each to be searched for faces. The stages
index to masks run on them as the workflow runs them. The baseline is bare decoding: PyAV decodes every video from its
beginning to the last of the sampled frames, and turns these to RGB; mask videos do not count in it. Both are
CPU-seconds of all processes, on one worker; the baseline runs before and after the stages. What a stage costs on a
shard of one tiny video (starting Python, importing) is measured apart and taken off: a shard of hundreds of videos
pays it once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from measure import STAGES, own_cpu_seconds, stage_cost

from preprocess.frames import FramesSettings, sample_frames
from preprocess.store.crop_file import CropReader
from preprocess.synthetic import render_portrait

N_FRAMES = 300
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for collections and results")
    parser.add_argument("clips", type=Path, nargs="+", help="video files with faces")
    parser.add_argument("--predictor", required=True, type=Path, help="81-point predictor, dlib's .dat format")
    parser.add_argument("--height", type=int, default=720, help="shorter side to scale the clips to (default: 720)")
    parser.add_argument(
        "--zoom", type=float, default=1.0, help="shrink close-ups to this share, and mirror what is around (default: 1)"
    )
    parser.add_argument("--copies", type=int, default=5, help="times that each clip is in a collection (default: 5)")
    parser.add_argument("--frames", type=int, default=32, help="frames sampled of each video (default: 32)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    results = {}
    paired, unpaired = (args.work / f"{kind}_{args.height}" for kind in ("paired", "unpaired"))
    make_paired(paired, args.clips, args.height, args.zoom, args.copies)
    unpaired.mkdir(exist_ok=True)
    for path in paired.glob("*/*/c23/videos/*.mp4"):
        shutil.copy(path, unpaired / f"{path.parts[-4]}_{path.name}")
    for root, layout in ((paired, "faceforensics"), (unpaired, "videos")):
        results[root.name] = measure(root, layout, args)
        print_table(root.name, results[root.name])
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


def make_paired(root: Path, clips: list[Path], height: int, zoom: float, copies: int) -> None:
    """Write the collection in FaceForensics++'s tree, if it is not there."""
    if (root / "train.json").exists():
        return
    pairs = []
    for number, clip in enumerate(clips):
        names = [f"{number + copy * len(clips):03d}" for copy in range(copies)]
        pairs += [[name, name] for name in names]
        print(f"encoding {clip.name} for {root}", flush=True)
        videos = root / "original_sequences/youtube/c23/videos"
        encode(videos / f"{names[0]}.mp4", scaled_frames(clip, height, zoom))
        for name in names[1:]:
            shutil.copy(videos / f"{names[0]}.mp4", videos / f"{name}.mp4")
        for strength, method in zip((3, 5, 7, 9), METHODS, strict=True):
            for part, folder in enumerate(("c23/videos", "masks/videos")):
                frames = enumerate(scaled_frames(clip, height, zoom))
                videos = root / "manipulated_sequences" / method / folder
                file = videos / f"{names[0]}_{names[0]}.mp4"
                encode(file, (manipulated(frame, index, strength)[part] for index, frame in frames))
                for name in names[1:]:
                    shutil.copy(file, videos / f"{name}_{name}.mp4")
    for split, chosen in (("val", []), ("test", []), ("train", pairs)):
        (root / f"{split}.json").write_text(json.dumps(chosen))


def scaled_frames(clip: Path, height: int, zoom: float) -> Iterator[np.ndarray]:
    """300 frames of the clip, played to and fro, with the shorter side at `height`."""
    with av.open(str(clip)) as container:
        once = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    scale = height / min(once[0].shape[:2])
    width, height = (round(side * scale / 2) * 2 for side in once[0].shape[1::-1])
    size = round(zoom * width), round(zoom * height)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    borders = top, height - size[1] - top, left, width - size[0] - left
    for frame in itertools.islice(itertools.cycle(once + once[::-1]), N_FRAMES):
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale * zoom < 1 else cv2.INTER_CUBIC)
        yield cv2.copyMakeBorder(small, *borders, cv2.BORDER_REFLECT_101)


def manipulated(frame: np.ndarray, index: int, strength: int) -> tuple[np.ndarray, np.ndarray]:
    """The frame, blurred in an ellipse that moves about its middle, and the ellipse as a white mask."""
    height, width = frame.shape[:2]
    centre = round(width * (0.5 + 0.02 * np.sin(index / 9))), round(height * (0.45 + 0.02 * np.cos(index / 7)))
    mask = np.zeros_like(frame)
    cv2.ellipse(mask, centre, (round(0.12 * height), round(0.16 * height)), 0, 0, 360, (255, 255, 255), -1)
    return np.where(mask > 0, cv2.GaussianBlur(frame, (0, 0), strength), frame), mask


def encode(path: Path, frames: Iterator[np.ndarray]) -> None:
    """Write frames as H.264 at crf 23, x264's other settings as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
        for frame in itertools.chain([first], frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def measure(root: Path, layout: str, args: argparse.Namespace) -> dict:
    """CPU-seconds of bare decoding and of every stage."""
    data = args.work / "data" / root.name
    videos = sorted(root.glob("*/*/c23/videos/*.mp4" if layout == "faceforensics" else "*.mp4"))
    start = args.work / "start"
    if not start.exists():
        face, _ = render_portrait(np.random.default_rng(3), 160, 160)
        encode(start / "tiny.mp4", iter([face]))

    def stage_cpu_s(data: Path, root: Path, layout: str) -> dict[str, float]:
        settings = {"index": {"label": "real"} if layout == "videos" else {}, "frames": {"n_frames": args.frames}}
        options = {"layout": layout, "settings": settings, "predictor": str(args.predictor)}
        return {stage: stage_cost(stage, data, root, **options).cpu_seconds for stage in STAGES}

    before = bare_decoding(videos, args.frames)
    stages = stage_cpu_s(data, root, layout)
    after = bare_decoding(videos, args.frames)
    empty = stage_cpu_s(args.work / "data/start", start, "videos")
    return {
        "videos": len(videos),
        "crops": pq.read_metadata(data / "landmarks/c/0000.parquet").num_rows,
        "crop_side_px": crop_side_px(data / "crops/c/0000.h5"),
        "bare_decoding_cpu_s": [before, after],
        "start_cpu_s": empty,
        "stage_cpu_s": {stage: stages[stage] - empty[stage] for stage in STAGES},
    }


def crop_side_px(path: Path) -> float:
    """Median of the longer side of the stored crops."""
    with CropReader(path) as crops:
        return float(np.median(crops.size.max(axis=1)))


def bare_decoding(videos: list[Path], n_frames: int) -> float:
    """CPU-seconds to decode the sampled frames of the videos to RGB in one forward pass over each."""
    begin = own_cpu_seconds()
    for path in videos:
        wanted = set(sample_frames(N_FRAMES, FramesSettings(n_frames=n_frames)).tolist())
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    frame.to_ndarray(format="rgb24")
                if index == max(wanted):
                    break
    return own_cpu_seconds() - begin


def print_table(title: str, result: dict) -> None:
    """Print the stages, each with its ratio to bare decoding."""
    baseline = sum(result["bare_decoding_cpu_s"]) / 2
    print(f"\n{title}: {result['videos']} videos, {result['crops']} crops of {result['crop_side_px']:.0f} px")
    print("| stage | CPU-s a video | to bare decoding | start, CPU-s a shard |\n|---|---|---|---|")
    print(f"| bare decoding | {baseline / result['videos']:.3f} | 1.00 | |")
    for stage in STAGES:
        seconds = result["stage_cpu_s"][stage]
        start = result["start_cpu_s"][stage]
        print(f"| {stage} | {seconds / result['videos']:.3f} | {seconds / baseline:.2f} | {start:.1f} |")
    total = sum(result["stage_cpu_s"][stage] for stage in STAGES[1:])
    print(f"| **frames to masks** | {total / result['videos']:.3f} | **{total / baseline:.2f}** | |")
    spread = max(result["bare_decoding_cpu_s"]) / min(result["bare_decoding_cpu_s"])
    print(f"\nbaseline before and after the stages differ by a factor of {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
