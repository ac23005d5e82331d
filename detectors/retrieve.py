"""Find the face crops of a store that are most like an image.

    python -m detectors.retrieve photo.jpg --datasets ffpp celebdf --figure similar --crops similar_crops

The largest face of the image is found and cut as the pipeline does it; an image without one is compared whole. To
classify the faces of the image itself, and those that were found: `python -m detectors.score <experiment> photo.jpg
similar_crops`. docs/retrieval.md has more.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from matplotlib.figure import Figure

from detectors.data.crop_store import CropStore
from detectors.data.crop_window import CropWindow
from detectors.data.loader import default_workers, to_tensor
from detectors.data.samples import Samples
from detectors.data.scoring_set import FaceCrops
from detectors.figures.style import FAKE_COLOUR, GREY, REAL_COLOUR, write_figure
from detectors.figures.tables import write_csv
from detectors.scoring.image_vectors import COSINE, DISTANCES, HARRIS, SIFT, ImageVectors, distances
from detectors.scoring.loose_files import StageSettings, find_faces
from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings
from preprocess.running.cli import UserError, add_worker_arguments, run_command
from preprocess.running.device import pick_device
from preprocess.running.settings import settings_json
from preprocess.store import versions
from preprocess.store.atomic import atomic_path
from preprocess.store.checksum import file_sha256
from preprocess.store.image_codecs import encode_png
from preprocess.store.origin import Origin, read_origin
from preprocess.store.tables import read_table, write_table

log = logging.getLogger("detectors")

_BATCH = 64
_FACTS = ["sample_id", "video_id", "dataset", "frame_index", "track_id", "label", "method", "split"]
COLUMNS = ("rank", "distance", *_FACTS)
_COLUMNS_OF_FIGURE = 6


def store_vectors(
    samples: Path, data: Path, vectors: ImageVectors, window: CropWindow, *, made_with: str, workers: int = 0
) -> np.ndarray:
    """Vectors (N, d) of all crops of a data set; kept in `<data>/retrieval/<dataset>.parquet` for the next query.

    Args:
        samples: Samples table of the data set, of N crops.
        data: Folder of the store.
        vectors: What describes a picture.
        window: How crops are cut.
        made_with: What else decides the vectors, such as the weights of a network.
        workers: Processes that read crops.

    Raises:
        UserError: The samples cannot be read.
    """
    table = Samples.read([samples])
    dataset = read_origin(samples).dataset
    settings = {
        "features": vectors.features,
        "made_with": made_with,
        "window": [window.margin, window.size],
        "samples": file_sha256(samples),
    }
    origin = Origin(dataset, "retrieval", settings_json(settings), versions.RETRIEVAL)
    kept = data / "retrieval" / f"{dataset}.parquet"
    if kept.is_file() and read_origin(kept) == origin:
        flat = read_table(kept)["vector"].combine_chunks().flatten().to_numpy()
        return flat.reshape(len(table), -1)
    crops = FaceCrops(data / "crops", table, window)
    batches = crops.batches(_BATCH, workers=workers, device="cpu", description=f"describe {dataset}")
    parts = [vectors(images) for images in batches]
    if not parts:
        raise UserError(f"data set {dataset!r} has no face crops: {samples} is empty; name another one")
    found = np.concatenate(parts).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), found.shape[1])
    schema = pa.schema([("vector", column.type)])
    write_table(kept, pa.Table.from_arrays([column], schema=schema), schema, origin)
    return found


def nearest(
    query: np.ndarray, vectors: np.ndarray, facts: pd.DataFrame, n: int, distance: str, *, one_per_video: bool = False
) -> pd.DataFrame:
    """The n crops whose vectors are nearest to a query's, nearest first; equals in the order of the store.

    Args:
        query: (d,).
        vectors: (N, d) of the crops.
        facts: N rows with the columns of `COLUMNS` that are not computed here.
        n: How many.
        distance: See `image_vectors.distances`.
        one_per_video: Only the nearest crop of each video.

    Returns:
        `COLUMNS`; the index is the row of `facts`.
    """
    table = facts.assign(distance=distances(query, vectors, distance)).sort_values("distance", kind="stable")
    if one_per_video:
        table = table.drop_duplicates("video_id")
    table = table.head(n)
    return table.assign(rank=np.arange(1, len(table) + 1))[list(COLUMNS)]


def query_image(path: Path, window: CropWindow, *, whole: bool, device: str, workers: int) -> np.ndarray:
    """What of an image is compared, (size, size, 3) uint8 RGB: its largest face, or all of it.

    Args:
        path: An image, or a video, whose sampled frames are searched for the largest face.
        window: How faces are cut.
        whole: Take all of the image, whatever is on it.
        device: To find faces with.
        workers: Processes that read files.

    Raises:
        UserError: The file cannot be read.
    """
    if not whole:
        settings = StageSettings(FramesSettings(), FacesSettings(), CropsSettings())
        with tempfile.TemporaryDirectory(prefix="retrieve-") as folder:
            found = find_faces([path], Path(folder), settings, device=device, workers=workers)
            samples = Samples.read([found.samples])
            if len(samples):
                boxes = read_table(found.samples, ["x0", "y0", "x1", "y1"]).to_pandas()
                area = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"])
                return CropStore(found.store / "crops", samples, window).read(int(area.argmax()))
            log.info("%s: %s; it is compared whole", path, found.ledger[0]["message"] or "no face")
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UserError(f"{path} cannot be read as an image; name a JPEG, PNG, WebP, BMP or TIFF file")
    side = (window.size, window.size)
    return cv2.cvtColor(cv2.resize(pixels, side, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def draw_neighbours(query: np.ndarray, found: pd.DataFrame, crops: Sequence[np.ndarray], title: str) -> Figure:
    """The query and the crops that were found, framed by their labels' colours.

    Args:
        query: (height, width, 3) uint8 RGB.
        found: As `nearest` gives it.
        crops: One for each of its rows.
        title: Above all.
    """
    n_rows = -(-(len(crops) + 1) // _COLUMNS_OF_FIGURE)
    figure = Figure(figsize=(1.25 * _COLUMNS_OF_FIGURE, 1.75 * n_rows + 0.4), layout="constrained")
    axes = figure.subplots(n_rows, _COLUMNS_OF_FIGURE, squeeze=False).ravel()
    names = {0: ("real", REAL_COLOUR), 1: ("fake", FAKE_COLOUR)}
    captions = [("query", "", "#000000")]
    for row in found.to_dict("records"):
        label, colour = names.get(row["label"], ("unknown", GREY))
        captions.append((f"{row['rank']}: {row['distance']:.3f}", f"{label}, {row['dataset']}", colour))
    for place, image, (above, below, colour) in zip(axes, [query, *crops], captions, strict=False):
        place.imshow(image)
        place.set_title(above, fontsize=8)
        place.set_xlabel(below, fontsize=6.5)
        place.set_xticks([])
        place.set_yticks([])
        place.grid(False)
        for spine in place.spines.values():
            spine.set(visible=True, color=colour, linewidth=2)
    for place in axes[len(crops) + 1 :]:
        place.remove()
    figure.suptitle(title)
    return figure


def retrieve(
    image: Path,
    *,
    data: Path,
    datasets: Sequence[str],
    features: str = "resnet50",
    pretrained: bool | str = True,
    distance: str = COSINE,
    n: int = 10,
    whole: bool = False,
    one_per_video: bool = False,
    margin: float = 0.15,
    size: int = 224,
    figure: Path | None = None,
    crops: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
) -> pd.DataFrame:
    """Find the crops of a store that are most like an image, and draw and write them; the arguments are the options.

    Returns:
        As `nearest`.

    Raises:
        UserError: The image, a data set or the weights cannot be read.
    """
    window = CropWindow(margin=margin, size=size)
    vectors = ImageVectors(features, pretrained=pretrained, device=device)
    query = query_image(image, window, whole=whole, device=device, workers=workers)
    tables = [data / "samples" / f"{dataset}.parquet" for dataset in datasets]
    reading: dict[str, Any] = {"made_with": str(pretrained), "workers": default_workers(workers, device)}
    of_store = np.concatenate([store_vectors(table, data, vectors, window, **reading) for table in tables])
    facts = pd.concat([read_table(table, _FACTS).select(_FACTS).to_pandas() for table in tables], ignore_index=True)
    (of_query,) = vectors(to_tensor(query)[None])
    found = nearest(of_query, of_store, facts, n, distance, one_per_video=one_per_video)
    store = CropStore(data / "crops", Samples.read(tables), window)
    if figure is not None:
        pictures = [store.read(row) for row in found.index]
        title = f"{image.name}: most similar faces by {features}, {distance} distance"
        write_figure(figure, lambda: draw_neighbours(query, found, pictures, title))
    if crops is not None:
        for row, rank in zip(found.index, found["rank"], strict=True):
            with atomic_path(crops / f"{rank:03d}.png") as temporary:
                # as it is stored, with all its margin
                temporary.write_bytes(encode_png(store.stored(row)[0]))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m detectors.retrieve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path, help="an image, or a video")
    parser.add_argument("--datasets", nargs="+", required=True, help="data sets of the store to search")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument(
        "--features", default="resnet50", help=f"timm name of a network, {HARRIS} or {SIFT} (default: %(default)s)"
    )
    parser.add_argument("--weights", help="timm checkpoint of the network (default: its ImageNet weights)")
    parser.add_argument("--distance", default=COSINE, choices=DISTANCES, help="default: %(default)s")
    parser.add_argument("-n", type=int, default=10, help="how many crops (default: %(default)s)")
    parser.add_argument("--one-per-video", action="store_true", help="only the nearest crop of each video")
    parser.add_argument("--whole", action="store_true", help="compare the whole image, not its largest face")
    parser.add_argument("--margin", type=float, default=0.15, help="room around a face (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of what is compared, in pixels")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="the picture, without its suffix: .png and .svg")
    parser.add_argument("--crops", type=Path, metavar="FOLDER", help="the crops as they are stored, <rank>.png")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    add_worker_arguments(parser)
    args = parser.parse_args()
    if args.n < 1:
        raise UserError(f"-n: found {args.n}; the smallest allowed value is 1")
    torch.set_num_threads(max(1, args.workers))
    options = vars(args)
    weights, csv, _ = options.pop("weights"), options.pop("csv"), options.pop("video_seconds", None)
    options["device"] = pick_device(args.device)
    found = retrieve(**options, pretrained=weights or True)
    shown = found.assign(label=found["label"].map({0: "real", 1: "fake"}).fillna("unknown"))
    print(shown.drop(columns=["sample_id"]).to_string(index=False, float_format="%.4f"))
    if csv:
        write_csv(csv, found)


if __name__ == "__main__":
    run_command(main)
