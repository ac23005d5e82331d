"""Compare ways to decode 32 evenly spaced frames of each video: `python benchmarks/decoders.py FOLDER`.

The baseline is bare decoding: one forward pass with PyAV, in one thread, that decodes every frame up to the last
wanted one and converts the wanted ones to RGB. Against it stand `preprocess.video.decode.read_frames`, the same with
frames shrunk to 0.3 of their size, and decord. Ratios are of CPU-seconds, the least of seven rounds in which each takes
its turn: other work on the machine only adds to them.

For each file also: frames that the packets promise, frames that `read_frames` and decord return, how many frames at
decord's end repeat the one before, whether the frames of `read_frames` equal those of decoding everything, for several
choices of frames, and decord's too, and what is done with the packets.

`--encode CLIP ...` adds files that are encoded like FaceForensics++ (x264, constant rate factor 23, default groups of
pictures and B-frames, 300 frames), in 720p and 1080p, from the pictures of real clips. Drawn pictures would not do:
they compress unlike film.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import decord
import numpy as np

from preprocess.frames import FramesSettings, sample_frames
from preprocess.video import decode
from preprocess.video.packet_roles import Role
from preprocess.video.probe import ProbeError, frame_times, scan_packets

ROUNDS = 7
SHRINKING = 0.3


def bare_decoding(path: Path, indices: list[int], times: np.ndarray) -> Iterator[np.ndarray]:
    """Decode every frame up to the last wanted one and convert the wanted ones."""
    wanted = {times[index] for index in indices}
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.time in wanted:
                yield frame.to_ndarray(format="rgb24", threads=1)
            if frame.time == times[indices[-1]]:
                return


def decord_frames(path: Path, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames in one forward pass with decord."""
    reader = decord.VideoReader(str(path), num_threads=1)
    position = 0
    for index in indices:
        if index >= len(reader):
            return
        if index > position:
            reader.skip_frames(index - position)
        yield index, reader.next().asnumpy()
        position = index + 1


def cpu_seconds(frames: Iterable) -> float:
    """CPU-seconds of taking frame after frame, none of which is kept."""
    begin = time.process_time()
    for _ in frames:
        pass
    return time.process_time() - begin


def repeated_at_end(frames: dict[int, np.ndarray]) -> int:
    """Frames at the end that equal the one before them."""
    ordered = [frames[index] for index in sorted(frames)]
    count = 0
    while count + 1 < len(ordered) and np.array_equal(ordered[-1 - count], ordered[-2 - count]):
        count += 1
    return count


def all_frames(path: Path, times: np.ndarray) -> dict[int, np.ndarray]:
    """Every frame by its time, with nothing left out of the decoding."""
    frames = {}
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    pixels = frame.to_ndarray(format="rgb24")
                    frames[int(np.abs(times - frame.time).argmin())] = np.rot90(pixels, round(frame.rotation / 90))
            except av.FFmpegError:
                continue
    return frames


def compare(path: Path) -> str:
    """One line of the table."""
    try:
        packets = scan_packets(path)
    except ProbeError as error:
        return f"{path.name[:24]:25}{error.message}"
    times = packets.frame_times()
    n_frames = len(times)
    whole = all_frames(path, times)
    random = np.random.default_rng(0).choice(n_frames, min(5, n_frames), replace=False)
    chosen = sample_frames(n_frames, FramesSettings()).tolist()
    choices = [range(n_frames), [0], [n_frames - 1], range(0, n_frames, 10), sorted(random.tolist()), chosen]
    same = all(
        list(frames) == [index for index in indices if index in whole]
        and all(np.array_equal(frame, whole[index]) for index, frame in frames.items())
        for indices, frames in ((indices, dict(decode.read_frames(path, indices))) for indices in choices)
    )
    height, width = whole[min(whole)].shape[:2]
    size = (round(SHRINKING * height), round(SHRINKING * width))
    ways = {
        "bare": lambda: bare_decoding(path, chosen, times),
        "ours": lambda: decode.read_frames(path, chosen),
        "small": lambda: decode.read_frames(path, chosen, size=size),
    }
    needs = decode._needed_packets(packets, chosen)
    left_out = "" if needs is None else f"{(needs != decode._DECODE).mean():.0%}"
    unreferenced = f"{(packets.roles == Role.UNREFERENCED).mean():.0%}"
    try:
        theirs = dict(decord_frames(path, list(range(len(decord.VideoReader(str(path)))))))
        ways["decord"] = lambda: decord_frames(path, chosen)
        repeats, same_theirs = repeated_at_end(theirs), _agree(whole, theirs)
    except decord.DECORDError:
        theirs, repeats, same_theirs = {}, "-", "refused"
    rounds = [{name: cpu_seconds(frames()) for name, frames in ways.items()} for _ in range(ROUNDS)]
    least = {name: min(taken[name] for taken in rounds) for name in ways}
    ratios = (f"{least[name] / least['bare']:.2f}" if name in least else "-" for name in ("ours", "small", "decord"))
    return (
        f"{path.name[:24]:25}{f'{height}x{width}':>10}{n_frames:8}{len(whole):6}{len(theirs):7}{repeats:>8}"
        f"{'equal' if same else 'DIFFER':>7}{same_theirs:>8}{unreferenced:>7}{left_out:>7}{1000 * least['bare']:9.0f}"
        + "".join(f"{ratio:>7}" for ratio in ratios)
    )


def _agree(whole: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> str:
    equal = all(
        index in theirs and frame.shape == theirs[index].shape and np.array_equal(frame, theirs[index])
        for index, frame in whole.items()
    )
    return "equal" if equal else "differ"


def encode_like_ffpp(clip: Path, output: Path, height: int, width: int, n_frames: int = 300) -> None:
    """Fill a frame of `(height, width)` with a clip, forth and back, and fresh grain, and encode it."""
    pictures = [
        _cover(picture, height, width)
        for _, picture in decode.read_frames(clip, range(min(n_frames, len(frame_times(clip)))))
    ]
    grain = np.random.default_rng(0)
    with av.open(str(output), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for picture in itertools.islice(itertools.cycle(pictures + pictures[-2:0:-1]), n_frames):
            # decoded pictures have lost the noise of their camera, which is much of what is coded
            noise = np.repeat(grain.normal(0, 2, (height, width, 1)), 3, axis=2)
            grainy = np.clip(picture + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grainy, format="rgb24")))
        container.mux(stream.encode())


def _cover(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / picture.shape[0], width / picture.shape[1])
    large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def main() -> None:
    """Print one line a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="videos, also in folders below")
    parser.add_argument("--encode", nargs="*", type=Path, default=[], metavar="CLIP", help="clips to encode")
    args = parser.parse_args()
    print(
        f"{'file':25}{'size':>10}{'packets':>8}{'ours':>6}{'decord':>7}{'repeats':>8}{'pixels':>7}{'decord':>8}"
        f"{'unref.':>7}{'spared':>7}{'bare ms':>9}{'ours':>7}{'small':>7}{'decord':>7}"
    )
    for path in sorted(path for path in args.folder.rglob("*") if path.is_file()):
        print(compare(path), flush=True)
    for clip in args.encode:
        for height, width in ((720, 1280), (1080, 1920)):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{height}p_{clip.stem}.mp4"
                encode_like_ffpp(clip, path, height, width)
                print(compare(path), flush=True)


if __name__ == "__main__":
    main()
