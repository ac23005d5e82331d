"""Faces per second of dlib's landmark predictor and of ours: `python benchmarks/landmarks.py`.

dlib places the points of one face at a time on one core; ours take batches, on one core and, where there is one, on a
GPU: with the crops in its memory, and with their upload and the points' way back. The predictors are trained here by
dlib on a few rendered portraits: they place points badly, but have the trees of the published ones, levels x trees x
depth: 10 x 500 x 2 with 81 points (19.6 MB; the published file has 19.7) and 15 x 500 x 4 with 68 points. All
methods take turns, so that other work on the machine slows them alike; the fastest of the rounds counts. On the CPU,
times are CPU-seconds, on a GPU and for dlib beside it, wall-clock.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dlib
import numpy as np
import torch

from preprocess.face.shape_predictor import ShapePredictor, grey_values
from preprocess.landmarks import landmark_rect
from preprocess.synthetic import render_portrait

# points -> levels and depth of the trees; 500 trees a level
PREDICTORS = {81: (10, 2), 68: (15, 4)}
SIDE_PX = 256
N_FACES = 256
CPU_BATCHES = (1, 16, 64, 256)
GPU_BATCHES = (64, 256, 1024, 4096, 16384)


def faces_to_measure() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, side, side) uint8 grey portraits, (N, 4) rectangles as the stage makes them, (N, 81, 2) true points."""
    images, rects, points = [], [], []
    for index in range(N_FACES):
        image, truth = render_portrait(np.random.default_rng((5, index)), SIDE_PX, SIDE_PX)
        images.append(grey_values(image))
        rects.append(landmark_rect(truth.box))
        points.append(truth.landmarks)
    return np.stack(images), np.stack(rects), np.stack(points)


def train(path: Path, n_points: int, images: np.ndarray, rects: np.ndarray, points: np.ndarray) -> None:
    """Have dlib grow trees on some of the faces."""
    levels, depth = PREDICTORS[n_points]
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level, options.tree_depth = levels, 500, depth
    options.oversampling_amount, options.num_test_splits, options.nu = 5, 10, 0.05
    options.random_seed, options.num_threads = "benchmark", 1
    detections = [
        [dlib.full_object_detection(rectangle(rect), [dlib.point(int(x), int(y)) for x, y in of_face[:n_points]])]
        for rect, of_face in zip(rects, points, strict=True)
    ]
    dlib.train_shape_predictor(list(images[:40]), detections[:40], options).save(str(path))


def rectangle(rect: np.ndarray) -> dlib.rectangle:
    """dlib's rectangle, whose right and bottom are inside."""
    x0, y0, x1, y1 = (int(value) for value in rect)
    return dlib.rectangle(x0, y0, x1 - 1, y1 - 1)


def fastest(methods: dict[str, Callable[[], None]], clock: Callable[[], float], rounds: int) -> dict[str, float]:
    """Least time of each method; they take turns."""
    times = dict.fromkeys(methods, math.inf)
    for number in range(rounds + 1):
        for name, method in methods.items():
            begin = clock()
            method()
            if number:  # the first round warms caches and allocators up
                times[name] = min(times[name], clock() - begin)
    return times


def batched(
    predictor: ShapePredictor, images: torch.Tensor, rects: torch.Tensor, batch_size: int, *, download: bool = False
) -> Callable[[], None]:
    """A call that places the points of all faces; it waits for a GPU to finish."""
    sizes = torch.full((len(images), 2), SIDE_PX, device=images.device)
    device = predictor.initial_shape.device

    def run() -> None:
        for begin in range(0, len(images), batch_size):
            part = slice(begin, begin + batch_size)
            points = predictor(images[part], sizes[part], rects[part])
            if download:
                points.cpu()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def one_at_a_time(predictor: dlib.shape_predictor, images: np.ndarray, rects: np.ndarray) -> Callable[[], None]:
    """A call that places the points of all faces with dlib."""
    rectangles = [rectangle(rect) for rect in rects]

    def run() -> None:
        for image, box in zip(images, rectangles, strict=True):
            predictor(image, box)

    return run


def report(title: str, seconds: dict[str, float], n_faces: dict[str, int]) -> None:
    """Print a table of faces per second and ratios to dlib."""
    print(f"\n{title}\n| method | faces/s | ratio |\n|---|---:|---:|")
    rates = {name: n_faces[name] / taken for name, taken in seconds.items()}
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / rates['dlib, one at a time']:.2f} |")


def main() -> None:
    """Train, check that the points are dlib's, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images, rects, points = faces_to_measure()
    all_images, all_rects = torch.from_numpy(images), torch.from_numpy(rects)
    for n_points, (levels, depth) in PREDICTORS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "predictor.dat"
            train(path, n_points, images, rects, points)
            title = f"{n_points} points, {levels} x 500 trees of depth {depth}, {path.stat().st_size / 1e6:.1f} MB"
            reference, predictor = dlib.shape_predictor(str(path)), ShapePredictor.load(path)
        devices = [predictor] + ([predictor.to("cuda")] if torch.cuda.is_available() else [])
        expected = np.array(
            [
                [(part.x, part.y) for part in reference(image, rectangle(rect)).parts()]
                for image, rect in zip(images, rects, strict=True)
            ]
        )
        for on_device in devices:
            found = on_device(all_images, torch.full((N_FACES, 2), SIDE_PX), all_rects).cpu().numpy()
            share = (np.floor(found + 0.5) == expected).all(axis=2).mean()
            print(f"{n_points} points on {on_device.initial_shape.device}: {share:.3%} are dlib's")
        dlib_name = "dlib, one at a time"
        methods = {dlib_name: one_at_a_time(reference, images, rects)}
        methods |= {f"batches of {size}": batched(predictor, all_images, all_rects, size) for size in CPU_BATCHES}
        seconds = fastest(methods, time.process_time, args.rounds)
        report(f"{title}: one CPU core, CPU-seconds", seconds, dict.fromkeys(methods, N_FACES))
        if not torch.cuda.is_available():
            continue
        methods, n_faces = {dlib_name: methods[dlib_name]}, {dlib_name: N_FACES}
        for size in GPU_BATCHES:
            repeats = math.ceil(size / N_FACES)
            many, many_rects = all_images.repeat(repeats, 1, 1).pin_memory(), all_rects.repeat(repeats, 1).pin_memory()
            resident = f"batches of {size}, crops on the GPU"
            uploaded = f"batches of {size}, up and down"
            methods[resident] = batched(devices[1], many.cuda(), many_rects.cuda(), size)
            methods[uploaded] = batched(devices[1], many, many_rects, size, download=True)
            n_faces |= {resident: len(many), uploaded: len(many)}
        seconds = fastest(methods, time.perf_counter, args.rounds)
        report(f"{title}: {torch.cuda.get_device_name()}, wall-clock", seconds, n_faces)


if __name__ == "__main__":
    main()
