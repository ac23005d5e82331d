"""Compare decoders on a folder of videos: `python benchmarks/decoders.py FOLDER`.

For each file: frames that the packets promise, frames that PyAV (through `preprocess.decode`) and decord return,
how many frames at decord's end repeat the one before pixel for pixel, whether sizes and pixels agree, and the ratio
of CPU-seconds for 32 evenly spaced frames in one forward pass (the best of three passes each).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import decord
import numpy as np

from preprocess.decode import read_frames
from preprocess.frames import FramesSettings, sample_frames
from preprocess.probe import ProbeError, frame_times


def pyav_frames(path: Path, indices: list[int]) -> dict[int, np.ndarray]:
    """Frames in one forward pass as the stages read them."""
    return dict(read_frames(path, indices))


def decord_frames(path: Path, indices: list[int]) -> dict[int, np.ndarray]:
    """Frames in one forward pass with decord."""
    reader = decord.VideoReader(str(path), num_threads=1)
    frames, position = {}, 0
    for index in indices:
        if index >= len(reader):
            break
        if index > position:
            reader.skip_frames(index - position)
        frames[index] = reader.next().asnumpy()
        position = index + 1
    return frames


def cpu_seconds(function, *arguments) -> float:
    """Least CPU-seconds of three calls."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        function(*arguments)
        times.append(time.process_time() - begin)
    return min(times)


def repeated_at_end(frames: dict[int, np.ndarray]) -> int:
    """Frames at the end that equal the one before them."""
    ordered = [frames[index] for index in sorted(frames)]
    count = 0
    while count + 1 < len(ordered) and np.array_equal(ordered[-1 - count], ordered[-2 - count]):
        count += 1
    return count


def main() -> None:
    """Print one line a file."""
    print(f"{'file':34}{'packets':>8}{'PyAV':>6}{'decord':>7}{'repeats':>8}  {'pixels':10}{'decord / PyAV CPU':>18}")
    for path in sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file()):
        try:
            every = range(len(frame_times(path)))
        except ProbeError as error:
            print(f"{path.name[:33]:34}{error.message}")
            continue
        ours = pyav_frames(path, list(every))
        chosen = sample_frames(len(every), FramesSettings()).tolist()
        try:
            total = len(decord.VideoReader(str(path)))
            theirs = decord_frames(path, list(range(total)))
            ratio = cpu_seconds(decord_frames, path, chosen) / cpu_seconds(pyav_frames, path, chosen)
        except decord.DECORDError as error:
            print(f"{path.name[:33]:34}{len(every):8}{len(ours):6}  decord: {str(error).strip().splitlines()[0][-70:]}")
            continue
        same = all(
            index in theirs and ours[index].shape == theirs[index].shape and np.array_equal(ours[index], theirs[index])
            for index in ours
        )
        print(
            f"{path.name[:33]:34}{len(every):8}{len(ours):6}{len(theirs):7}{repeated_at_end(theirs):8}"
            f"  {'equal' if same else 'differ':10}{ratio:18.2f}"
        )


if __name__ == "__main__":
    main()
