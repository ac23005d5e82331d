"""Compare ways of storing face crops: `python benchmarks/crop_store.py CROPS.h5 [CROPS.h5 ...]`.

Four tables, from the crops of files that the stage `crops` wrote:

1. lossless formats: bytes, CPU-ms to write and to read a crop on one thread, the best of five passes in which the
   formats take turns; every crop must come back pixel for pixel;
2. where the CPU time of one sample goes when the loader reads it;
3. random reads by a training loader (batches of 32 images, UCF's window of 256 px): samples per CPU-second of the
   reading workers and the parent together, from crops files and from PNG files in folders, median of five epochs each,
   taken in turns; files and disk cache are warm, the start of the workers is not counted. The baseline is what an
   ordinary script does: a data set with `__getitem__` that reads a PNG file, PyTorch's `DataLoader` and its own joining
   of items. One more row reads the same files through the project's loader, which tells the loader's share of the gain
   from the store's;
4. opening a samples table of ten million rows, in a process of its own.

The baseline is PNG as `cv2.imwrite` makes and reads it without options. Libraries that are not installed are skipped:
`pip install imagecodecs blosc2` brings all. `--plot FILE.png` draws the first table.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from detectors.data.crop_window import CropWindow
from detectors.data.loader import make_loader, new_images, split_planes, to_tensor
from detectors.data.samples import Samples, TextColumn
from detectors.data.scoring_set import FaceCrops
from preprocess.store.crop_file import Crop, CropReader, CropRows, write_crops
from preprocess.store.image_codecs import decode_crop, decode_png, encode_crop
from preprocess.store.origin import Origin
from preprocess.store.schemas import SAMPLES

try:
    import imagecodecs
except ImportError:
    imagecodecs = None
try:
    import blosc2
except ImportError:
    blosc2 = None

BASELINE = "PNG, OpenCV's defaults"
PILLOW = "PNG, Pillow's defaults"
UP = "PNG level 1, filter up"
STORED = "colour planes, row differences, zstd 1 (the store)"
LOADED = (
    STORED,
    BASELINE,
    "row differences, zstd 1",
    "Blosc2 LZ4, bytes shuffled by channel",
)
IN_FOLDERS = (BASELINE, PILLOW, UP)
# What the plot names, and where it does not stand to the right of its point: x, y in points, and alignment.
LABELS = {
    STORED: "the store",
    BASELINE: "OpenCV's defaults",
    PILLOW: "Pillow's defaults",
    UP: "filter up",
    "PNG level 0": "level 0",
    "WebP method 0": "method 0",
    "WebP method 4": "method 4",
    "JPEG XL effort 1": "effort 1",
    "JPEG XL effort 3": "effort 3",
    "JPEG XL effort 7": "effort 7",
    "zstd 1": "zstd 1",
    "row differences, zstd 1": "row differences",
    "Blosc2 LZ4, bytes shuffled by channel": "LZ4",
    "Blosc2 zstd 1, bytes shuffled by channel": "zstd 1",
}
LEFT, BELOW = (-7, -3, "right"), (0, -14, "center")
SHIFTS = {
    ("read", PILLOW): (-5, -13, "right"),
    ("read", STORED): (-4, -18, "center"),
    ("read", UP): (5, -12, "left"),
    ("write", UP): LEFT,
    ("read", "PNG level 0"): BELOW,
    ("write", "PNG level 0"): BELOW,
    ("read", "WebP method 4"): LEFT,
    ("write", "WebP method 0"): LEFT,
    ("write", "WebP method 4"): LEFT,
    ("read", "JPEG XL effort 1"): LEFT,
    ("write", "JPEG XL effort 1"): LEFT,
    ("write", "row differences, zstd 1"): (7, 2, "left"),
}
PASSES = 5
EPOCHS = 5
WINDOW = CropWindow(margin=0.15, size=256)
BATCH_SIZE = 32  # images of UCF's 16 real-fake pairs
PARTS = ("formats", "loaders", "table")
WORKER_COUNTS = (1, 4, 8)
TABLE_ROWS = 10_000_000
ROWS_OF_VIDEO, VIDEOS_OF_GROUP, ROWS_OF_GROUP = 40, 5, 1 << 20
OPENINGS = 3

Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes | np.ndarray, tuple[int, int]], np.ndarray]
LoaderOf = Callable[[Dataset, int, list[int]], DataLoader]


@dataclass(frozen=True)
class Codec:
    """A lossless format of an RGB uint8 image `(height, width, 3)`.

    Attributes:
        name: Of the table's row.
        family: Formats drawn alike.
        encode: Image → bytes.
        decode: Bytes and (height, width), which the store knows, → image.
    """

    name: str
    family: str
    encode: Encode
    decode: Decode


@dataclass(frozen=True)
class Figures:
    """What a format costs, for a crop on average: bytes, and CPU-ms to write and to read."""

    n_bytes: float
    write_ms: float
    read_ms: float


def png_codec(name: str, *options: int) -> Codec:
    """PNG by OpenCV with some options."""

    def encode(image: np.ndarray) -> bytes:
        return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()

    return Codec(name, "PNG", encode, lambda encoded, size: decode_png(encoded))


def png_codecs() -> Iterator[Codec]:
    """PNG with OpenCV's levels, strategies and filters."""
    level, strategy = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY
    yield png_codec(BASELINE)
    for number in (0, 1, 3, 6):
        yield png_codec(f"PNG level {number}", level, number)
    yield png_codec("PNG level 1, RLE", level, 1, strategy, cv2.IMWRITE_PNG_STRATEGY_RLE)
    yield png_codec("PNG level 1, Huffman only", level, 1, strategy, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
    if not hasattr(cv2, "IMWRITE_PNG_FILTER"):
        print("skipped: PNG filters, this OpenCV has no option for them")
        return
    for name in ("none", "sub", "paeth", "up"):
        code = getattr(cv2, f"IMWRITE_PNG_FILTER_{name.upper()}")
        yield png_codec(f"PNG level 1, filter {name}", level, 1, cv2.IMWRITE_PNG_FILTER, code)
    yield png_codec("PNG level 3, filter up", level, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)


def pillow_codecs() -> Iterator[Codec]:
    """PNG as Pillow writes it, read by OpenCV, and lossless WebP."""

    def encode(image: np.ndarray, **options: str | bool | int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, **options)
        return buffer.getvalue()

    yield Codec(PILLOW, "PNG", partial(encode, format="png"), lambda encoded, size: decode_png(encoded))
    for method in (0, 4):
        yield Codec(
            f"WebP method {method}",
            "WebP",
            partial(encode, format="webp", lossless=True, exact=True, method=method),
            lambda encoded, size: np.asarray(Image.open(io.BytesIO(encoded))),
        )


def zstd_codecs() -> Iterator[Codec]:
    """Pixels, row differences, and row differences of colour planes, with zstd as pyarrow brings it."""
    yield Codec("raw", "raw", np.ndarray.tobytes, lambda data, size: np.frombuffer(data, np.uint8).reshape(*size, 3))
    for level in (1, 9):
        zstd = pa.Codec("zstd", compression_level=level)

        def pack(image: np.ndarray, zstd: pa.Codec = zstd) -> bytes:
            return zstd.compress(np.ascontiguousarray(image), asbytes=True)

        def unpack(data: bytes, size: tuple[int, int], zstd: pa.Codec = zstd) -> np.ndarray:
            return np.frombuffer(zstd.decompress(data, 3 * int(np.prod(size))), np.uint8).reshape(*size, 3)

        def pack_rows(image: np.ndarray, pack: Encode = pack) -> bytes:
            return pack(np.diff(image, axis=0, prepend=np.zeros_like(image[:1])))

        def unpack_rows(data: bytes, size: tuple[int, int], unpack: Decode = unpack) -> np.ndarray:
            image = unpack(data, size).copy()
            for above, row in pairwise(image):
                np.add(above, row, out=row)
            return image

        yield Codec(f"zstd {level}", "zstd", pack, unpack)
        yield Codec(f"row differences, zstd {level}", "zstd", pack_rows, unpack_rows)
    yield Codec(STORED, "colour planes", encode_crop, decode_crop)
    for level in (3, 9):
        zstd = pa.Codec("zstd", compression_level=level)

        def pack_planes(image: np.ndarray, zstd: pa.Codec = zstd) -> bytes:
            with patch("preprocess.store.image_codecs._ZSTD", zstd):
                return encode_crop(image)

        yield Codec(STORED.replace("zstd 1 (the store)", f"zstd {level}"), "colour planes", pack_planes, decode_crop)


def blosc_codecs() -> Iterator[Codec]:
    """Pixels with Blosc2, bytes shuffled by channel."""
    blosc2.set_nthreads(1)

    def unpack(data: bytes, size: tuple[int, int]) -> np.ndarray:
        return np.frombuffer(blosc2.decompress(data), np.uint8).reshape(*size, 3)

    for label, codec, level in (("LZ4", blosc2.Codec.LZ4, 5), ("zstd 1", blosc2.Codec.ZSTD, 1)):

        def pack(image: np.ndarray, codec: blosc2.Codec = codec, level: int = level) -> bytes:
            pixels = image.tobytes()
            return blosc2.compress(pixels, typesize=3, clevel=level, filter=blosc2.Filter.SHUFFLE, codec=codec)

        yield Codec(f"Blosc2 {label}, bytes shuffled by channel", "Blosc2", pack, unpack)


def imagecodecs_codecs() -> Iterator[Codec]:
    """JPEG XL, JPEG-LS, QOI; and libspng, another decoder for PNG."""
    for effort in (1, 3, 7):
        yield Codec(
            f"JPEG XL effort {effort}",
            "JPEG XL",
            lambda image, effort=effort: imagecodecs.jpegxl_encode(image, lossless=True, effort=effort, numthreads=1),
            lambda encoded, size: imagecodecs.jpegxl_decode(encoded, numthreads=1),
        )
    yield Codec("JPEG-LS", "JPEG-LS", imagecodecs.jpegls_encode, lambda data, size: imagecodecs.jpegls_decode(data))
    yield Codec("QOI", "QOI", imagecodecs.qoi_encode, lambda data, size: imagecodecs.qoi_decode(data))
    encode = png_codec(BASELINE).encode
    yield Codec(f"{BASELINE}, read by libspng", "PNG", encode, lambda data, size: imagecodecs.spng_decode(data))


def make_codecs() -> list[Codec]:
    """Every format whose library is installed, the baseline first."""
    codecs = [*png_codecs(), *pillow_codecs(), *zstd_codecs()]
    if blosc2:
        codecs.extend(blosc_codecs())
    else:
        print("skipped: Blosc2, blosc2 is not installed")
    if imagecodecs:
        codecs.extend(imagecodecs_codecs())
    else:
        print("skipped: JPEG XL, JPEG-LS, QOI and libspng, imagecodecs is not installed")
    return codecs


def read_crops(path: Path, every: int = 1) -> Iterator[tuple[Crop, np.ndarray]]:
    """Crops of a file, without their bytes, and their pixels; lost ones are passed over."""
    with CropReader(path) as reader:
        for row in range(0, len(reader), every):
            image = reader.image(row)
            if image is not None:
                yield (
                    Crop(
                        video_id=reader.video_id[row],
                        frame_index=int(reader.frame_index[row]),
                        pts_seconds=float(reader.pts_seconds[row]),
                        track_id=int(reader.track_id[row]),
                        box=reader.box[row],
                        score=float(reader.score[row]),
                        size=tuple(reader.size[row]),
                        crop_to_frame=reader.crop_to_frame[row],
                        padding_px=tuple(reader.padding_px[row]),
                        encoded=b"",
                    ),
                    image,
                )


def cpu_ms(function: Callable, items: list) -> tuple[float, list]:
    """CPU-ms an item of one pass over all items, and the results."""
    begin = time.process_time()
    results = [function(*item) for item in items]
    return 1000 * (time.process_time() - begin) / len(items), results


def measure_formats(codecs: list[Codec], images: list[np.ndarray]) -> dict[str, Figures]:
    """What each format costs, by name; the formats take turns, so that noise of the machine meets all alike."""
    figures: dict[str, Figures] = {}
    for _ in range(PASSES):
        for codec in codecs:
            write_ms, encoded = cpu_ms(codec.encode, [(image,) for image in images])
            sized = [(data, image.shape[:2]) for data, image in zip(encoded, images, strict=True)]
            read_ms, decoded = cpu_ms(codec.decode, sized)
            if not all(np.array_equal(before, after) for before, after in zip(images, decoded, strict=True)):
                raise AssertionError(f"{codec.name} is not lossless")
            best = figures.get(codec.name, Figures(0, np.inf, np.inf))
            n_bytes = sum(map(len, encoded)) / len(encoded)
            figures[codec.name] = Figures(n_bytes, min(write_ms, best.write_ms), min(read_ms, best.read_ms))
    return figures


def print_formats(figures: dict[str, Figures]) -> None:
    """Print the table of formats, with ratios to the baseline."""
    base = figures[BASELINE]
    print("\n| format | kB | size | write ms | ratio | read ms | ratio |\n|---|---|---|---|---|---|---|")
    for name, row in figures.items():
        print(
            f"| {name} | {row.n_bytes / 1000:.1f} | {row.n_bytes / base.n_bytes:.2f} | {row.write_ms:.2f} | "
            f"{row.write_ms / base.write_ms:.2f} | {row.read_ms:.3f} | {row.read_ms / base.read_ms:.2f} |"
        )


def plot_formats(codecs: list[Codec], figures: dict[str, Figures], path: Path) -> None:
    """Draw size against the time to read, and to write, relative to the baseline; raw pixels are left out."""
    # Okabe and Ito's colours, and markers, so that no two families differ in colour alone
    styles = {
        "PNG": ("#000000", "o"),
        "WebP": ("#CC79A7", "v"),
        "JPEG XL": ("#E69F00", "s"),
        "JPEG-LS": ("#56B4E9", "D"),
        "QOI": ("#009E73", "P"),
        "zstd": ("#0072B2", "^"),
        "Blosc2": ("#808080", "X"),
        "colour planes": ("#D55E00", "d"),
    }
    base = figures[BASELINE]
    figure = Figure(figsize=(11, 5.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    for axis, verb in zip(axes, ("read", "write"), strict=True):
        axis.axhline(1, color="0.85", zorder=0)
        axis.axvline(1, color="0.85", zorder=0)
        for family, (colour, marker) in styles.items():
            of_family = [codec.name for codec in codecs if codec.family == family]
            sizes = [figures[name].n_bytes / base.n_bytes for name in of_family]
            times = [getattr(figures[name], f"{verb}_ms") / getattr(base, f"{verb}_ms") for name in of_family]
            axis.scatter(sizes, times, s=48, c=colour, marker=marker, edgecolors="white", label=family, zorder=2)
            for name, size, duration in zip(of_family, sizes, times, strict=True):
                x, y, align = SHIFTS.get((verb, name), (7, -3, "left"))
                weight = "bold" if name == STORED else "normal"
                axis.annotate(
                    LABELS.get(name, ""),
                    (size, duration),
                    (x, y),
                    textcoords="offset points",
                    ha=align,
                    fontsize=8.5,
                    color=colour,
                    fontweight=weight,
                )
        axis.set(xscale="log", yscale="log", xlabel="size (PNG by OpenCV = 1)")
        axis.set_ylabel(f"CPU time to {verb} (PNG by OpenCV = 1)")
        axis.xaxis.set_major_locator(FixedLocator([0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3]))
        axis.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]))
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_locator(NullLocator())
            side.set_major_formatter("{x:g}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(0.08)
    axes[0].legend(frameon=False, ncols=2, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


class FolderCrops(Dataset):
    """The same crops as image files, one folder a video, with boxes and transforms in memory; an item is a crop."""

    def __init__(self, paths: list[str], crops: list[Crop]):
        self.paths = paths
        self._box = np.stack([crop.box for crop in crops])
        self._crop_to_frame = np.stack([crop.crop_to_frame for crop in crops])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict:
        return {"image": to_tensor(self.cut(row)), "row": row}

    def cut(self, row: int) -> np.ndarray:
        """The window of a crop, `(size, size, 3)` uint8 RGB."""
        image = cv2.cvtColor(cv2.imread(self.paths[row], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return WINDOW.cut(image, self._box[row], self._crop_to_frame[row])


class FolderBatches(FolderCrops):
    """The same files, whole batches fetched at once as `FaceCrops` does it."""

    def __getitems__(self, rows: list[int]) -> dict:
        images = new_images(len(rows), WINDOW.size)
        for image, row in zip(images.numpy(), rows, strict=True):
            split_planes(self.cut(row), image)
        return {"image": images, "row": torch.tensor(rows)}


def ordinary_loader(dataset: Dataset, workers: int, order: list[int]) -> DataLoader:
    """PyTorch's loader as an ordinary script uses it: items one by one, joined by its default."""
    return DataLoader(
        dataset, batch_size=BATCH_SIZE, sampler=order, num_workers=workers, persistent_workers=workers > 0
    )


def project_loader(dataset: Dataset, workers: int, order: list[int]) -> DataLoader:
    """The loader of this project's training."""
    return make_loader(dataset, batch_size=BATCH_SIZE, workers=workers, sampler=order)


def write_files(folder: Path, sources: list[Path], codec: Codec) -> tuple[list[str], list[Crop]]:
    """Write the crops as files in folders, and return their paths and what else is known of them."""
    paths, kept = [], []
    for shard, source in enumerate(sources):
        for crop, image in read_crops(source):
            path = folder / str(shard) / crop.video_id / f"{crop.frame_index:06d}_{crop.track_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(codec.encode(image))
            paths.append(str(path))
            kept.append(crop)
    return paths, kept


def write_crops_files(folder: Path, sources: list[Path], codec: Codec) -> Samples:
    """Write the crops as crops files `crops/<shard>.h5`, and return the samples that they hold."""
    shards, crop_rows = [], []
    for shard, source in enumerate(sources):
        rows = (replace(crop, encoded=codec.encode(image)) for crop, image in read_crops(source))
        path = folder / "crops" / f"{shard:04d}.h5"
        write_crops(path, rows, Origin("crops", "crops", "{}", 1, f"{shard:04d}"))
        with CropReader(path) as crops:
            shards += [shard] * len(crops)
            crop_rows += range(len(crops))
    same = TextColumn(("crops",), np.zeros(len(shards), np.int32))
    return Samples(
        **dict.fromkeys(("dataset", "video_id", "method", "split", "source_group"), same),
        shard=TextColumn(tuple(f"{shard:04d}" for shard in range(len(sources))), np.array(shards, np.int32)),
        crop_row=np.array(crop_rows, np.int32),
        label=np.zeros(len(shards), np.int8),
    )


def print_parts(folder: Path, samples: Samples, files: list[str]) -> None:
    """Print where the CPU time of one sample goes, without workers."""
    rows = np.random.default_rng(0).permutation(len(samples)).tolist()
    opened = {name: CropRows(folder / name) for name in {samples.crops_file(row) for row in rows}}

    def read(row: int) -> tuple:
        return opened[samples.crops_file(row)].read(int(samples.crop_row[row]))

    def cut(image: np.ndarray, box: np.ndarray, crop_to_frame: np.ndarray) -> None:
        to_tensor(WINDOW.cut(image, box, crop_to_frame))

    items = [(row,) for row in rows]
    crops = [read(row) for row in rows]
    pngs = [(Path(files[row]).read_bytes(),) for row in rows]
    best: dict[str, float] = {}
    for _ in range(PASSES):
        with patch("preprocess.store.crop_file.decode_crop", lambda encoded, size: encoded):
            finding, encoded = cpu_ms(read, items)
        whole = [(data, crop[0].shape[:2]) for (data, *_), crop in zip(encoded, crops, strict=True)]
        taken = {
            "bytes, size, box and transform from a crops file": finding,
            "bytes from a file in a folder": cpu_ms(lambda row: Path(files[row]).read_bytes(), items)[0],
            "decode as the store does": cpu_ms(decode_crop, whole)[0],
            f"decode {BASELINE}": cpu_ms(decode_png, pngs)[0],
            "cut and resize to 256 px": cpu_ms(cut, crops)[0],
        }
        best = {part: min(milliseconds, best.get(part, np.inf)) for part, milliseconds in taken.items()}
    print("\n| part of one sample | CPU-ms |\n|---|---|")
    for part, milliseconds in best.items():
        print(f"| {part} | {milliseconds:.3f} |")


def process_cpu_seconds(process: int) -> float:
    """User and system CPU-seconds of a process and its threads so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def samples_per_cpu_second(stores: list[tuple[Dataset, LoaderOf, Codec]], workers: int) -> list[float]:
    """Median over the epochs, for each data set; `stores` gives each its loader and the format of its crops.

    The data sets take turns, so that noise of the machine meets all alike.
    """
    before = {child.pid for child in multiprocessing.active_children()}
    readers = []
    for dataset, loader_of, codec in stores:
        order = np.random.default_rng(0).permutation(len(dataset)).tolist()
        # workers are forked by the first epoch and keep this decoder; it also warms files and cache
        with patch("preprocess.store.crop_file.decode_crop", codec.decode):
            loader = loader_of(dataset, workers, order)
            n_samples = sum(len(batch["row"]) for batch in loader)
        children = {child.pid for child in multiprocessing.active_children()} - before
        before |= children
        readers.append((loader, n_samples, [os.getpid(), *children]))
    rates = [[] for _ in readers]
    for _ in range(EPOCHS):
        for rate, (loader, n_samples, processes) in zip(rates, readers, strict=True):
            begin = sum(map(process_cpu_seconds, processes))
            for _ in loader:
                pass
            rate.append(n_samples / (sum(map(process_cpu_seconds, processes)) - begin))
    return [float(np.median(rate)) for rate in rates]


def compare_loaders(folder: Path, sources: list[Path], codecs: list[Codec]) -> None:
    """Print the parts of one sample, and the table of loaders."""
    by_name = {codec.name: codec for codec in codecs}
    loaded = [by_name[name] for name in LOADED if name in by_name]
    names, stores, files = [], [], {}
    for number, name in enumerate(IN_FOLDERS):
        if name in by_name:
            files[name] = write_files(folder / "files" / str(number), sources, by_name[name])
            names.append(f"files in folders, {name}")
            stores.append((FolderCrops(*files[name]), ordinary_loader, by_name[name]))
    names.append(f"files in folders, {BASELINE}, through the project's loader")
    stores.append((FolderBatches(*files[BASELINE]), project_loader, by_name[BASELINE]))
    for codec in loaded:
        samples = write_crops_files(folder / codec.name, sources, codec)
        names.append(f"crops files, {codec.name}")
        stores.append((FaceCrops(folder / codec.name, samples, WINDOW), project_loader, codec))
    # we ask for more workers than this machine may have cores, on purpose
    warnings.filterwarnings("ignore", "This DataLoader will create")
    print_parts(folder / STORED, samples, files[BASELINE][0])
    columns = [samples_per_cpu_second(stores, workers) for workers in WORKER_COUNTS]
    print(f"\n{len(samples)} crops an epoch; samples per CPU-second, and ratio to files in folders\n")
    print("| store |" + "".join(f" {workers} workers |" for workers in WORKER_COUNTS))
    print("|---|" + "---|" * len(WORKER_COUNTS))
    for row, name in enumerate(names):
        cells = (f" {column[row]:.0f} ({column[row] / column[0]:.2f}) |" for column in columns)
        print(f"| {name} |" + "".join(cells))


def write_samples_table(path: Path) -> None:
    """Write a samples table of ten million rows: 250,000 videos of 40 crops, each real with four fakes."""
    rng = np.random.default_rng(0)
    methods = np.array(["real", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"])
    with pq.ParquetWriter(path, SAMPLES, compression="zstd") as writer:
        for begin in range(0, TABLE_ROWS, ROWS_OF_GROUP):
            rows = np.arange(begin, min(begin + ROWS_OF_GROUP, TABLE_ROWS))
            count = len(rows)
            # as the stage writes them: sorted by video, so by method, then name
            n_groups = TABLE_ROWS // ROWS_OF_VIDEO // VIDEOS_OF_GROUP
            method, group = np.divmod(rows // ROWS_OF_VIDEO, n_groups)
            videos = [f"ffpp/{methods[m]}/c23/{g:06d}" for m, g in zip(method, group, strict=True)]
            frames = rows % ROWS_OF_VIDEO * 9
            groups = [f"{g:06d}" for g in group]
            box = rng.uniform(0, 700, (4, count)).astype(np.float32)
            columns = {
                "sample_id": [f"{video}#{frame}#0" for video, frame in zip(videos, frames, strict=True)],
                "video_id": videos,
                "dataset": ["ffpp"] * count,
                "shard": [f"{g % 500:04d}" for g in group],
                "crop_row": rows % 20_000,
                "frame_index": frames,
                "pts_seconds": frames / 25,
                "track_id": np.zeros(count, np.int32),
                "label": (method > 0).astype(np.int8),
                "method": methods[method],
                "compression": ["c23"] * count,
                "split": np.array(["train", "val", "test"])[np.digitize(group % 100, (72, 86))],
                "source_id": [f"ffpp/real/c23/{g}" for g in groups],
                "source_group": groups,
                "identities": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), pa.array(groups)),
                **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                "score": rng.uniform(0.9, 1, count).astype(np.float32),
                "has_landmarks": np.ones(count, bool),
                "mask_source": np.where(method > 0, "mask_video", "real"),
                "sharpness": rng.uniform(10, 500, count).astype(np.float32),
            }
            arrays = [pa.array(columns[field.name], type=field.type) for field in SAMPLES]
            writer.write_table(pa.Table.from_arrays(arrays, schema=SAMPLES))


def memory_mb(key: str) -> float:
    """`VmRSS` or `VmHWM` (its peak) of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024 / 1e6


def open_samples_table(path: Path) -> tuple[float, float, float, float, float]:
    """Wall seconds, CPU-seconds, and MB before, at the peak and after `Samples.read`."""
    before = memory_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    samples = Samples.read([path])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if len(samples) != TABLE_ROWS:
        raise AssertionError(f"{len(samples)} rows read of {TABLE_ROWS}")
    return wall, cpu, before, memory_mb("VmHWM"), memory_mb("VmRSS")


def measure_table(folder: Path) -> None:
    """Print time and memory to open the samples table, three times, each in a new process."""
    path = folder / "samples.parquet"
    # written elsewhere too: the memory that writing took is not to count
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        pool.submit(write_samples_table, path).result()
        print(f"\nsamples table of {TABLE_ROWS:,} rows, {path.stat().st_size / 1e6:.0f} MB")
        for _ in range(OPENINGS):
            wall, cpu, before, peak, after = pool.submit(open_samples_table, path).result()
            print(
                f"opened in {wall:.1f} s ({cpu:.1f} CPU-s); memory {before:.0f} MB before (imports), "
                f"{peak:.0f} MB at the peak, {after:.0f} MB after"
            )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, nargs="+", metavar="CROPS.h5")
    parser.add_argument("--every", type=int, default=8, help="compare the formats on every n-th crop (default 8)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the part `formats`")
    arguments = parser.parse_args()
    libraries = ["opencv-python-headless", "pillow", "pyarrow", "h5py", "torch"]
    libraries += ["imagecodecs"] * bool(imagecodecs) + ["blosc2"] * bool(blosc2)
    print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in libraries))
    cv2.setNumThreads(1)
    codecs = make_codecs()
    images = [image for path in arguments.crops for _, image in read_crops(path, arguments.every)]
    sizes = np.array([image.shape[:2] for image in images])
    print(f"{len(images)} crops, median {np.median(sizes.max(axis=1)):.0f} px on the longer side")
    if "formats" in arguments.parts:
        figures = measure_formats(codecs, images)
        print_formats(figures)
        if arguments.plot:
            plot_formats(codecs, figures, arguments.plot)
    with tempfile.TemporaryDirectory() as folder:
        if "loaders" in arguments.parts:
            compare_loaders(Path(folder), arguments.crops, codecs)
        if "table" in arguments.parts:
            measure_table(Path(folder))


if __name__ == "__main__":
    main()
