"""Speed of self-blended images: `python benchmarks/self_blending.py --help`.

Pairs of a real and its blend per second, at the published size: in batches on the CPU and, where there is one, on a GPU
(`detectors.families.sbi.blending`), against the same steps one image at a time with OpenCV and NumPy, as a
loader's worker would take them. What stays with the workers, drawing the parameters and the masks, is measured apart.
On a CPU one thread computes and a second is one of CPU time, so that other work on the machine counts little; on a GPU
it is one of the clock. The ways take turns, and the fastest round of each counts.

The pictures are random and the face is the average one: the time depends on neither.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from detectors.families.sbi.blending import self_blend
from detectors.families.sbi.face_mask import draw_face_mask, loose_box
from detectors.families.sbi.parameters import ColourShift, draw_parameters, stack_parameters
from preprocess.running.device import pick_device
from preprocess.synthetic.geometry import template

HSV_SHIFT = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=380, help="side of the detector's crop in pixels (default: 380)")
    parser.add_argument("--pairs", type=int, default=64, help="pairs of a round (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="pairs of a batch (default: 1 16)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = pick_device(args.device)
    faces = [make_face(seed, args.size) for seed in range(args.pairs)]
    room = round(args.size / 16)

    ways: dict[str, Callable[[], None]] = {
        "one image at a time, OpenCV": lambda: [opencv_blend(f, room) for f in faces]
    }
    for n_pairs in args.batches:
        batches = [make_batch(faces[begin : begin + n_pairs], "cpu") for begin in range(0, len(faces), n_pairs)]
        ways[f"CPU, batches of {n_pairs}"] = lambda batches=batches: [self_blend(*batch, room) for batch in batches]
        if device != "cpu":
            on_gpu = [make_batch(faces[begin : begin + n_pairs], device) for begin in range(0, len(faces), n_pairs)]
            ways[f"GPU, batches of {n_pairs}"] = lambda batches=on_gpu: blend_on_gpu(batches, room)
    ways["(drawing parameters and masks, in a worker)"] = lambda: [make_face(seed, None) for seed in range(args.pairs)]

    print(f"{args.size} px, {args.pairs} pairs a round")
    print(f"GPU: {torch.cuda.get_device_name(device) if device != 'cpu' else 'none'}\n")
    seconds = {name: [] for name in ways}
    for _ in range(args.rounds + 1):  # the first round warms up
        for name, run in ways.items():
            clock = time.perf_counter if name.startswith("GPU") else time.process_time
            begin = clock()
            run()
            seconds[name].append(clock() - begin)
    best = {name: args.pairs / min(values[1:]) for name, values in seconds.items()}
    baseline = next(iter(best.values()))
    print(f"{'':<46}{'pairs/s':>10}{'ratio':>8}")
    for name, rate in best.items():
        print(f"{name:<46}{rate:>10.1f}{rate / baseline:>8.2f}")


def make_face(seed: int, size: int | None) -> tuple:
    """A random picture (none without a size), its face's hard mask and loose box, and the parameters of a blend."""
    rng = np.random.default_rng(seed)
    side = (size or 380) + 2 * round((size or 380) / 16)
    points = template()
    low, high = points.min(axis=0), points.max(axis=0)
    # with margins of an eighth of the box on each side
    points = (points - (low + high) / 2) / (high - low).max() * 0.7 * side + side / 2
    image = None if size is None else rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    parameters = draw_parameters(rng, HSV_SHIFT)
    mask = draw_face_mask(points, parameters.mask_size, rng)
    return image, mask, loose_box(points).astype(np.float32), parameters


def make_batch(faces: list[tuple], device: str) -> tuple:
    """What `self_blend` reads of some faces, on a device."""
    images, masks, boxes, parameters = zip(*faces, strict=True)
    batch = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(np.stack(masks)),
        torch.from_numpy(np.stack(boxes)),
        stack_parameters(parameters),
    )
    return move_data_to_device(batch, torch.device(device))


def blend_on_gpu(batches: list[tuple], room: int) -> None:
    for batch in batches:
        self_blend(*batch, room)
    torch.cuda.synchronize()


def opencv_blend(face: tuple, room: int) -> tuple[np.ndarray, np.ndarray]:
    """A real and its blend, `(height, width, 3)` uint8 each: the steps of `self_blend` on one image."""
    image, mask, box, drawn = face
    changed = opencv_colours(image, drawn.colours)
    changed = opencv_sharpness(changed, drawn.reduction, drawn.sharpening)
    source, target = (changed, image) if drawn.source_changes else (image, changed)
    height, width = image.shape[:2]
    scale, size = drawn.scale, drawn.mask_size

    def affine(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        centre = (low + high) / 2
        shift = centre * (1 - scale) + drawn.translation * (high - low)
        return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])

    source = cv2.warpAffine(source, affine(box[:2], box[2:]), (width, height), borderMode=cv2.BORDER_REPLICATE)
    soft = mask[: size[1], : size[0]].astype(np.float32)
    soft = cv2.warpAffine(soft, affine(np.zeros(2), size - 1.0), tuple(size.tolist()))
    noise = [cv2.resize(noise.astype(np.float32), tuple(size.tolist())) * (50 / 127) for noise in drawn.elastic_noise]
    moves = [cv2.GaussianBlur(one, (0, 0), 7) for one in noise]
    columns, rows = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in size))
    soft = cv2.remap(soft, columns + moves[0], rows + moves[1], cv2.INTER_LINEAR)
    for number, half in enumerate(drawn.blur_kernels):
        kernel = np.concatenate([half[:0:-1], half])
        kernel = np.trim_zeros(kernel)
        soft = cv2.sepFilter2D(soft, cv2.CV_32F, kernel, kernel)
        soft /= max(soft.max(), 1e-6)
        if number == 0:
            soft = (soft > 0.999).astype(np.float32)
    step = (box[2:] - box[:2]) / size
    to_image = np.array([[step[0], 0, box[0] + step[0] / 2], [0, step[1], box[1] + step[1] / 2]])
    soft = cv2.warpAffine(soft, to_image, (width, height))[..., None] * drawn.ratio
    blend = target + soft * (source.astype(np.float32) - target)
    inner = slice(room, -room)
    pair = []
    for one in (target, blend.round().astype(np.uint8)):
        one = opencv_colours(one[inner, inner], drawn.final_colours)
        if drawn.jpeg_quality is not None:
            _, encoded = cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, drawn.jpeg_quality])
            one = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        pair.append(one)
    return pair[0], pair[1]


def opencv_colours(image: np.ndarray, shift: ColourShift) -> np.ndarray:
    levels = np.arange(256)
    table = np.clip(levels[:, None] + shift.rgb, 0, 255).round().astype(np.uint8)
    hue, saturation, value = shift.hsv
    hsv_table = np.stack([(levels + hue) % 180, levels + saturation, levels + value], axis=1)
    hsv = cv2.cvtColor(cv2.LUT(image, table[None]), cv2.COLOR_RGB2HSV)
    hsv = cv2.LUT(hsv, hsv_table.round().clip(0, 255).astype(np.uint8)[None])
    contrast = (levels * shift.contrast + shift.brightness).round().clip(0, 255).astype(np.uint8)
    return cv2.LUT(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), contrast)


def opencv_sharpness(image: np.ndarray, reduction: int | None, sharpening: float) -> np.ndarray:
    if reduction is None:
        kernel = np.full((3, 3), -sharpening, np.float32)
        kernel[1, 1] = 1 + 8 * sharpening
        return cv2.filter2D(image, -1, kernel)
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // reduction, height // reduction), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height))


if __name__ == "__main__":
    main()
