"""What a large collection will take, on paper: `python benchmarks/estimate.py --cores 64 --raw-tb 1.2 …`.

Every number that goes in is an option, with a default for the training set of DFDC; what comes out is a table of
time and disk for a workstation, for nodes with a shared file system, and for object storage. CPU-seconds were measured
(docs/performance.md); what is assumed says so.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields

MEASURED = "measured"
ASSUMED = "assumed"
PUBLISHED = "published"


def _value(default: float, unit: str, what: str, source: str):
    return field(default=default, metadata={"unit": unit, "what": what, "source": source})


@dataclass(frozen=True)
class Assumptions:
    """What goes into the calculation; every field is an option of the command line."""

    real_videos: float = _value(19_154, "", "real videos", PUBLISHED)
    fake_videos: float = _value(100_000, "", "fakes", PUBLISHED)
    raw_tb: float = _value(0.47, "TB", "raw collection", PUBLISHED)
    inherited_share: float = _value(0.9, "", "share of fakes of the size and length of their real video", ASSUMED)
    faces_a_frame: float = _value(1.2, "", "faces in a frame", ASSUMED)
    n_frames: float = _value(32, "", "frames sampled of a video", "setting")
    crop_mpx: float = _value(0.13, "Mpx", "pixels of a crop: 400 x 320", ASSUMED)
    bytes_a_px: float = _value(0.52, "B", "stored bytes a pixel", MEASURED)
    mask_kb: float = _value(2, "kB", "both masks of a crop", ASSUMED)
    index_s: float = _value(0.02, "CPU-s", "index, of a video, with the checksum", ASSUMED)
    frames_s: float = _value(0.017, "CPU-s", "frames, of a video (10 s of 1080p)", MEASURED)
    search_s: float = _value(1.335, "CPU-s", "faces, of a video that is searched", MEASURED)
    inherit_s: float = _value(0.048, "CPU-s", "faces, of a fake that inherits its boxes", MEASURED)
    crops_s: float = _value(0.937, "CPU-s", "crops, of a video", MEASURED)
    landmarks_s: float = _value(0.040, "CPU-s", "landmarks, of a video, on CPUs", MEASURED)
    masks_s: float = _value(0.341, "CPU-s", "masks, of a video (measured with mask videos)", MEASURED)
    start_s: float = _value(12.4, "CPU-s", "start of the five stages, of a shard", MEASURED)
    videos_a_shard: float = _value(300, "", "videos of a shard", "setting")
    cores: float = _value(16, "", "cores of a machine", ASSUMED)
    parallel_efficiency: float = _value(0.85, "", "share of the cores' time that is used", ASSUMED)
    nodes: float = _value(16, "", "nodes of the cluster", ASSUMED)
    disk_mb_s: float = _value(500, "MB/s", "disk of the workstation", ASSUMED)
    shared_mb_s: float = _value(2000, "MB/s", "shared file system, all nodes together", ASSUMED)
    object_mb_s: float = _value(300, "MB/s", "object storage, of each node", ASSUMED)
    reads_of_raw: float = _value(3, "", "times the raw videos are read: index, frames, crops", "design")
    gpu_crops_s: float = _value(200, "1/s", "crops that a GPU trains on (Xception, 256 px)", ASSUMED)
    loader_crops_s: float = _value(633, "1/s", "crops that the loader gives, of a core", MEASURED)
    passes: float = _value(5, "", "times that training sees every crop", "setting")


@dataclass(frozen=True)
class Estimate:
    """What comes out, of the collection whatever the machine: hours are of one core."""

    cpu_hours: dict[str, float]
    n_crops: float
    crops_tb: float
    other_tb: float
    raw_read_tb: float
    store_read_tb: float
    train_hours: float
    loader_cores: float


def estimate(of: Assumptions) -> Estimate:
    """The calculation; all of it is sums and products."""
    n_videos = of.real_videos + of.fake_videos
    inherited = of.fake_videos * of.inherited_share
    searched = n_videos - inherited
    n_crops = n_videos * of.n_frames * of.faces_a_frame
    seconds = {
        "index": n_videos * of.index_s,
        "frames": n_videos * of.frames_s,
        "faces": searched * of.search_s + inherited * of.inherit_s,
        "crops": n_videos * of.crops_s,
        "landmarks": n_videos * of.landmarks_s,
        "masks": n_videos * of.masks_s,
        "starts": n_videos / of.videos_a_shard * of.start_s,
    }
    crops_tb = n_crops * of.crop_mpx * of.bytes_a_px / 1e6
    return Estimate(
        cpu_hours={stage: value / 3600 for stage, value in seconds.items()},
        n_crops=n_crops,
        crops_tb=crops_tb,
        # landmarks take 0.65 kB a crop as 81 points of two single-precision numbers
        other_tb=n_crops * (of.mask_kb + 0.65) / 1e9,
        # the search also reads the videos that it searches
        raw_read_tb=of.raw_tb * (of.reads_of_raw + searched / n_videos),
        # landmarks, masks
        store_read_tb=2 * crops_tb,
        train_hours=n_crops * of.passes / of.gpu_crops_s / 3600,
        loader_cores=of.gpu_crops_s / of.loader_crops_s,
    )


def scenarios(of: Assumptions, result: Estimate) -> list[tuple[str, float, float, str]]:
    """Name, hours of computing, hours of moving bytes, and what binds, of each way to run it."""
    core_hours = sum(result.cpu_hours.values()) / of.parallel_efficiency
    moved_mb = 1e6 * (result.raw_read_tb + result.store_read_tb + result.crops_tb + result.other_tb)
    ways = (
        (f"one workstation, {of.cores:.0f} cores", of.cores, of.disk_mb_s, "the disk"),
        (f"{of.nodes:.0f} nodes, shared file system", of.nodes * of.cores, of.shared_mb_s, "the file system"),
        (f"{of.nodes:.0f} nodes, object storage", of.nodes * of.cores, of.nodes * of.object_mb_s, "object storage"),
    )
    rows = []
    for name, cores, mb_s, store in ways:
        compute, move = core_hours / cores, moved_mb / mb_s / 3600
        rows.append((name, compute, move, "CPU cores" if compute > move else store))
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Assumptions):
        unit = f" ({one.metadata['unit']})" if one.metadata["unit"] else ""
        help_text = f"{one.metadata['what']}{unit}; {one.metadata['source']} (default: %(default)g)"
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=float, default=one.default, help=help_text)
    of = Assumptions(**vars(parser.parse_args()))
    result = estimate(of)
    print("| what goes in | | from |\n|---|---|---|")
    for one in fields(Assumptions):
        value = f"{getattr(of, one.name):,g}" if getattr(of, one.name) < 1e4 else f"{getattr(of, one.name):,.0f}"
        print(
            f"| {one.metadata['what']} | {value} {one.metadata['unit']} | {one.metadata['source']} |".replace(
                "  |", " |"
            )
        )
    print("\n| what comes out | |\n|---|---|")
    for stage, hours in result.cpu_hours.items():
        print(f"| {stage} | {hours:,.1f} CPU-hours |")
    print(f"| **all stages** | **{sum(result.cpu_hours.values()):,.0f} CPU-hours** |")
    print(f"| face crops | {result.n_crops / 1e6:,.1f} million |")
    print(f"| crops on disk | {result.crops_tb:,.2f} TB |")
    print(f"| masks and landmarks on disk | {1000 * result.other_tb:,.0f} GB |")
    print(f"| read from the raw collection | {result.raw_read_tb:,.2f} TB |")
    print(f"| training on one GPU | {result.train_hours:,.0f} h a seed |")
    print(f"| cores that feed that GPU | {result.loader_cores:,.1f} |")
    print("\n| where | computing | moving bytes | binds |\n|---|---|---|---|")
    for name, compute, move, binds in scenarios(of, result):
        print(f"| {name} | {_hours(compute)} | {_hours(move)} | {binds} |")


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:,.0f} min"


if __name__ == "__main__":
    main()
