"""Compare ways of storing face crops: `python benchmarks/crop_store.py CROPS.h5 [CROPS.h5 ...]`.

Four tables, from the crops of files that the stage `crops` wrote:

1. lossless formats: bytes, CPU-ms to write and to read a crop on one thread, the best of three passes over the same
   crops; every crop must come back pixel for pixel;
2. where the CPU time of one sample goes when the loader reads it;
3. random reads by a training loader (batches of 16, UCF's window of 256 px): samples per CPU-second of the reading
   workers and the parent together, from crops files and from PNG files in folders, median of three epochs each, taken
   in turns; files and disk cache are warm, the start of the workers is not counted;
4. opening a samples table of ten million rows, in a process of its own.

Libraries that are not installed are skipped: `pip install imagecodecs blosc2` brings all.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import platform
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch.utils.data import Dataset

from detectors.crop_window import CropWindow
from detectors.data import FaceCrops, Samples, TextColumn, make_loader, to_tensor
from preprocess.crop_file import Crop, CropReader, CropRows, decode_png, encode_png, write_crops
from preprocess.schemas import SAMPLES
from preprocess.store import Origin

try:
    import imagecodecs
except ImportError:
    imagecodecs = None
try:
    import blosc2
except ImportError:
    blosc2 = None

BASELINE = "PNG level 1"  # what the stage `crops` writes
UP = "PNG level 1, filter up"
LOADED = (
    BASELINE,
    UP,
    "JPEG XL effort 1",
    "rows' differences + zstd 1",
    "QOI",
    "Blosc2 LZ4, bytes shuffled by channel",
)
PASSES = 3
EPOCHS = 3
WINDOW = CropWindow(margin=0.15, size=256)
BATCH_SIZE = 16
TABLE_ROWS = 10_000_000
ROWS_OF_VIDEO, VIDEOS_OF_GROUP, ROWS_OF_GROUP = 40, 5, 1 << 20


@dataclass(frozen=True)
class Codec:
    """A lossless format of an RGB uint8 image `(height, width, 3)`."""

    name: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def png_codec(name: str, level: int, *options: int) -> Codec:
    """PNG by OpenCV with a zlib level and further options."""

    def encode(image: np.ndarray) -> bytes:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level, *options])[1].tobytes()

    return Codec(name, encode, decode_png)


def pillow_codec(name: str, **options: int | bool | str) -> Codec:
    """A format of Pillow."""

    def encode(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, **options)
        return buffer.getvalue()

    return Codec(name, encode, lambda encoded: np.asarray(Image.open(io.BytesIO(encoded))))


def raw_codec(
    name: str, pack: Callable[[np.ndarray], bytes], unpack: Callable[[bytes, tuple[int, int, int]], np.ndarray]
) -> Codec:
    """Pixels behind four bytes that hold height and width."""

    def decode(encoded: bytes) -> np.ndarray:
        height, width = struct.unpack_from("<HH", encoded)
        return unpack(memoryview(encoded)[4:], (height, width, 3))

    return Codec(name, lambda image: struct.pack("<HH", *image.shape[:2]) + pack(image), decode)


def zstd_codecs() -> Iterator[Codec]:
    """Raw pixels, and pixels and differences of rows with zstd as pyarrow brings it."""
    yield raw_codec("raw", np.ndarray.tobytes, lambda data, shape: np.frombuffer(data, np.uint8).reshape(shape))
    for level in (1, 9):
        zstd = pa.Codec("zstd", compression_level=level)

        def pack(image: np.ndarray, zstd: pa.Codec = zstd) -> bytes:
            return zstd.compress(np.ascontiguousarray(image), asbytes=True)

        def unpack(data: bytes, shape: tuple[int, int, int], zstd: pa.Codec = zstd) -> np.ndarray:
            return np.frombuffer(zstd.decompress(data, int(np.prod(shape))), np.uint8).reshape(shape)

        def pack_differences(image: np.ndarray, pack: Callable = pack) -> bytes:
            return pack(np.diff(image, axis=0, prepend=np.zeros_like(image[:1])))

        def unpack_differences(data: bytes, shape: tuple[int, int, int], unpack: Callable = unpack) -> np.ndarray:
            image = unpack(data, shape).copy()
            # a third of the time of np.add.accumulate, which does not go row by row
            for above, row in pairwise(image):
                np.add(above, row, out=row)
            return image

        yield raw_codec(f"raw + zstd {level}", pack, unpack)
        yield raw_codec(f"rows' differences + zstd {level}", pack_differences, unpack_differences)


def blosc_codecs() -> Iterator[Codec]:
    """Raw pixels with Blosc2, bytes shuffled by channel."""
    blosc2.set_nthreads(1)

    def unpack(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
        return np.frombuffer(blosc2.decompress(data), np.uint8).reshape(shape)

    for label, codec, level in (("LZ4", blosc2.Codec.LZ4, 5), ("zstd 1", blosc2.Codec.ZSTD, 1)):

        def pack(image: np.ndarray, codec: blosc2.Codec = codec, level: int = level) -> bytes:
            pixels = image.tobytes()
            return blosc2.compress(pixels, typesize=3, clevel=level, filter=blosc2.Filter.SHUFFLE, codec=codec)

        yield raw_codec(f"Blosc2 {label}, bytes shuffled by channel", pack, unpack)


def imagecodecs_codecs() -> Iterator[Codec]:
    """JPEG XL, JPEG-LS, QOI; and libspng, another decoder for the PNG bytes that we have."""
    for effort in (1, 3, 7):
        yield Codec(
            f"JPEG XL effort {effort}",
            lambda image, effort=effort: imagecodecs.jpegxl_encode(image, lossless=True, effort=effort, numthreads=1),
            lambda encoded: imagecodecs.jpegxl_decode(encoded, numthreads=1),
        )
    yield Codec("JPEG-LS", imagecodecs.jpegls_encode, imagecodecs.jpegls_decode)
    yield Codec("QOI", imagecodecs.qoi_encode, imagecodecs.qoi_decode)
    yield Codec("PNG level 1, read by libspng", encode_png, imagecodecs.spng_decode)


def make_codecs() -> list[Codec]:
    """Every format whose library is installed, the baseline first."""
    codecs = [
        Codec(BASELINE, encode_png, decode_png),
        png_codec("PNG level 3", 3),
        png_codec("PNG level 6", 6),
        png_codec("PNG level 1, default strategy", 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
        png_codec("PNG level 1, RLE", 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        png_codec("PNG level 1, Huffman only", 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
        png_codec("PNG level 0", 0),
    ]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):
        filter_option = cv2.IMWRITE_PNG_FILTER
        codecs += [
            png_codec("PNG level 1, no filter", 1, filter_option, cv2.IMWRITE_PNG_FILTER_NONE),
            png_codec("PNG level 1, filter sub", 1, filter_option, cv2.IMWRITE_PNG_FILTER_SUB),
            png_codec("PNG level 1, filter Paeth", 1, filter_option, cv2.IMWRITE_PNG_FILTER_PAETH),
            png_codec(UP, 1, filter_option, cv2.IMWRITE_PNG_FILTER_UP),
            png_codec("PNG level 3, filter up", 3, filter_option, cv2.IMWRITE_PNG_FILTER_UP),
        ]
    else:
        print("skipped: PNG filters, this OpenCV has no option for them")
    for method in (0, 4):
        codecs.append(pillow_codec(f"WebP method {method}", format="webp", lossless=True, exact=True, method=method))
    codecs.extend(zstd_codecs())
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


def best_ms(function: Callable, items: list) -> tuple[float, list]:
    """Least CPU-ms an item of some passes over all items, and the results."""
    times = []
    for _ in range(PASSES):
        begin = time.process_time()
        results = [function(item) for item in items]
        times.append(time.process_time() - begin)
    return 1000 * min(times) / len(items), results


def compare_formats(codecs: list[Codec], images: list[np.ndarray]) -> dict[str, float]:
    """Print the table of formats; give back CPU-ms to read a crop, by name."""
    print(f"\n{'format':40}{'kB':>8}{'size':>7}{'write ms':>10}{'write':>7}{'read ms':>9}{'read':>7}")
    read_ms = {}
    for codec in codecs:
        encode_ms, encoded = best_ms(codec.encode, images)
        decode_ms, decoded = best_ms(codec.decode, encoded)
        if not all(np.array_equal(before, after) for before, after in zip(images, decoded, strict=True)):
            raise AssertionError(f"{codec.name} is not lossless")
        kilobytes = sum(map(len, encoded)) / len(encoded) / 1000
        if codec.name == BASELINE:
            base = kilobytes, encode_ms, decode_ms
        read_ms[codec.name] = decode_ms
        print(
            f"{codec.name:40}{kilobytes:8.1f}{kilobytes / base[0]:7.2f}{encode_ms:10.2f}{encode_ms / base[1]:7.2f}"
            f"{decode_ms:9.3f}{decode_ms / base[2]:7.2f}"
        )
    return read_ms


class FolderCrops(Dataset):
    """The same crops as PNG files, one folder a video, with boxes and transforms in memory."""

    def __init__(self, paths: list[str], crops: list[Crop]):
        self.paths = paths
        self._box = np.stack([crop.box for crop in crops])
        self._crop_to_frame = np.stack([crop.crop_to_frame for crop in crops])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict:
        image = cv2.cvtColor(cv2.imread(self.paths[row], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return {"image": to_tensor(WINDOW.cut(image, self._box[row], self._crop_to_frame[row])), "row": row}


def write_stores(folder: Path, sources: list[Path], codecs: list[Codec]) -> tuple[FolderCrops, Samples]:
    """Write the crops as files in folders, and as crops files `<codec's number>/crops/<shard>.h5`."""
    paths, kept, shards, crop_rows = [], [], [], []
    for shard, source in enumerate(sources):
        crops = list(read_crops(source))
        for number, codec in enumerate(codecs):
            name = folder / str(number) / "crops" / f"{shard:04d}.h5"
            rows = (replace(crop, encoded=codec.encode(image)) for crop, image in crops)
            write_crops(name, rows, Origin("crops", "crops", "{}", 1, f"{shard:04d}"))
        for row, (crop, image) in enumerate(crops):
            path = folder / "files" / str(shard) / crop.video_id / f"{crop.frame_index:06d}_{crop.track_id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(image))
            paths.append(str(path))
            kept.append(crop)
            shards.append(shard)
            crop_rows.append(row)
    same = TextColumn(("crops",), np.zeros(len(kept), np.int32))
    samples = Samples(
        **dict.fromkeys(("dataset", "video_id", "method", "split", "source_group"), same),
        shard=TextColumn(tuple(f"{shard:04d}" for shard in range(len(sources))), np.array(shards, np.int32)),
        crop_row=np.array(crop_rows, np.int32),
        label=np.zeros(len(kept), np.int8),
    )
    return FolderCrops(paths, kept), samples


def print_parts(folder: Path, samples: Samples, files: FolderCrops, decode_ms: float) -> None:
    """Print where the CPU time of one sample goes, without workers."""
    rows = np.random.default_rng(0).permutation(len(samples)).tolist()
    opened = {name: CropRows(folder / "0" / name) for name in {samples.crops_file(row) for row in rows}}

    def read(row: int) -> tuple:
        return opened[samples.crops_file(row)].read(int(samples.crop_row[row]))

    with patch("preprocess.crop_file.decode_png", lambda encoded: encoded):
        crops_file_ms, _ = best_ms(read, rows)
    one_file_ms, _ = best_ms(lambda row: Path(files.paths[row]).read_bytes(), rows)
    cut_ms, _ = best_ms(lambda crop: to_tensor(WINDOW.cut(*crop)), [read(row) for row in rows])
    print("\nCPU-ms of one sample")
    for part, milliseconds in (
        ("bytes, box and transform from a crops file", crops_file_ms),
        ("bytes from a file in a folder", one_file_ms),
        (f"decode {BASELINE}", decode_ms),
        ("cut and resize to 256 px", cut_ms),
    ):
        print(f"{part:48}{milliseconds:8.3f}")


def process_cpu_seconds(process: int) -> float:
    """User and system CPU-seconds of a process and its threads so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def samples_per_cpu_second(datasets: list[tuple[Dataset, Callable]], workers: int) -> list[float]:
    """Median over the epochs, for each data set; `datasets` pairs each with the decoder of its crops.

    The data sets take turns, so that noise of the machine meets all alike.
    """
    before = {child.pid for child in multiprocessing.active_children()}
    readers = []
    for dataset, decode in datasets:
        order = np.random.default_rng(0).permutation(len(dataset)).tolist()
        # workers are forked by the first epoch and keep this decoder; it also warms files and cache
        with patch("preprocess.crop_file.decode_png", decode):
            loader = make_loader(dataset, batch_size=BATCH_SIZE, workers=workers, sampler=order)
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


def compare_loaders(folder: Path, sources: list[Path], codecs: list[Codec], decode_ms: float) -> None:
    """Print the parts of one sample, and the table of loaders."""
    loaded = [codec for codec in codecs if codec.name in LOADED]
    files, samples = write_stores(folder, sources, loaded)
    # we ask for more workers than this machine may have cores, on purpose
    warnings.filterwarnings("ignore", "This DataLoader will create")
    print_parts(folder, samples, files, decode_ms)
    datasets = [(files, decode_png)]
    datasets += [
        (FaceCrops(folder / str(number), samples, WINDOW), codec.decode) for number, codec in enumerate(loaded)
    ]
    print(f"\n{len(samples)} crops an epoch; samples per CPU-second, and ratio to PNG files in folders")
    names = ["PNG files in folders", *(f"crops files, {codec.name}" for codec in loaded)]
    worker_counts = (1, 4, 8)
    columns = [samples_per_cpu_second(datasets, workers) for workers in worker_counts]
    print(f"{'store':56}" + "".join(f"{workers:>9} workers" for workers in worker_counts))
    for row, name in enumerate(names):
        cells = (f"{column[row]:9.0f} ({column[row] / column[0]:.2f})" for column in columns)
        print(f"{name:56}" + " ".join(cells))


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
        for _ in range(PASSES):
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
    parser.add_argument("--no-table", action="store_true", help="leave out the table of ten million rows")
    arguments = parser.parse_args()
    libraries = ["opencv-python-headless", "pillow", "pyarrow", "h5py", "torch"]
    libraries += ["imagecodecs"] * bool(imagecodecs) + ["blosc2"] * bool(blosc2)
    print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in libraries))
    cv2.setNumThreads(1)
    codecs = make_codecs()
    images = [image for path in arguments.crops for _, image in read_crops(path, arguments.every)]
    sizes = np.array([image.shape[:2] for image in images])
    print(f"{len(images)} crops, median {np.median(sizes.max(axis=1)):.0f} px on the longer side")
    read_ms = compare_formats(codecs, images)
    with tempfile.TemporaryDirectory() as folder:
        compare_loaders(Path(folder), arguments.crops, codecs, read_ms[BASELINE])
        if not arguments.no_table:
            measure_table(Path(folder))


if __name__ == "__main__":
    main()
