"""Cost and finds of the face search, against facenet-pytorch's MTCNN: `python benchmarks/face_detection.py --help`.

Three tables: milliseconds a frame for each video, in rounds in which all methods take turns, the fastest round of each
counting (CPU time on a CPU, wall-clock on a GPU); how many of the boxes of kept tracks one method finds of another's;
and the faces of photographs with annotations in dlib's XML. Bare decoding is one thread of PyAV over every frame.
"""

from __future__ import annotations

import argparse
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from facenet_pytorch import MTCNN

from preprocess.face.detector import FaceBoxes, FaceDetector
from preprocess.face.tracks import FaceTracker, box_iou
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings, sample_frames
from preprocess.video.decode import read_frames, read_image
from preprocess.video.probe import frame_times, probe_video

SETTINGS = FacesSettings()
# A box of one method is found by another when a box of that overlaps so much.
SAME_FACE_IOU = 0.4


@dataclass(frozen=True)
class Annotation:
    """An annotated face: (4,) box x0, y0, x1, y1 and (68, 2) points x, y, in pixels."""

    box: np.ndarray
    points: np.ndarray


class FacenetDetector:
    """facenet-pytorch's MTCNN behind the interface of `FaceDetector`, on the same frames."""

    def __init__(self, *, min_size_px: int, device: str):
        ours = FaceDetector(min_size_px=min_size_px, score_threshold=0.9, batch_size=1, device="cpu")
        self.shrink, self._min_size_px = ours.shrink, min_size_px
        smallest = max(20, round(min_size_px * ours.scale))
        self._mtcnn = MTCNN(keep_all=True, min_face_size=smallest, device=torch.device(device), select_largest=False)

    def detect(self, shrunken: list[np.ndarray], size: tuple[int, int]) -> list[FaceBoxes]:
        """See `FaceDetector.detect`."""
        found = []
        for boxes, scores, points in zip(*self._mtcnn.detect(np.stack(shrunken), landmarks=True), strict=True):
            if boxes is None:
                found.append(FaceBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))))
                continue
            scale = np.array([size[1] / shrunken[0].shape[1], size[0] / shrunken[0].shape[0]])
            faces = FaceBoxes(*(np.asarray(part, np.float64) for part in (boxes, scores, points)))
            faces = FaceBoxes(faces.boxes * np.tile(scale, 2), faces.scores, faces.points * scale)
            sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1)
            found.append(faces.select((faces.scores >= SETTINGS.score_threshold) & (sides >= self._min_size_px)))
        return found


def our_detector(min_size_px: int, device: str, full_search_every: int) -> FaceDetector:
    """A detector with the settings of the stage."""
    return FaceDetector(
        min_size_px=min_size_px,
        score_threshold=SETTINGS.score_threshold,
        batch_size=SETTINGS.batch_size,
        device=device,
        full_search_every=full_search_every,
    )


def compare_costs(videos: list[Path], device: str, rounds: int) -> None:
    """Print milliseconds a sampled frame of each video for facenet-pytorch and the search in full and near."""
    methods = {
        "facenet": FacenetDetector(min_size_px=SETTINGS.min_size_px, device=device),
        "every frame": our_detector(SETTINGS.min_size_px, device, 1),
        "near": our_detector(SETTINGS.min_size_px, device, SETTINGS.full_search_every),
    }
    print(f"{'ms a frame':28}{'size':>11}{'decoding':>10}" + "".join(f"{name:>13}" for name in methods), end="")
    print(f"{'facenet / near':>16}{'near x 32 / decoding x 300':>28}")
    for path in videos:
        frames, size = sampled(path, 32, methods["near"].shrink)
        best = dict.fromkeys(["decoding", *methods], np.inf)
        for _ in range(rounds):
            n_frames, seconds = measured(lambda path=path: decode(path), "cpu")
            best["decoding"] = min(best["decoding"], seconds / n_frames)
            for name, detector in methods.items():
                seconds = measured(lambda d=detector, f=frames, s=size: d.detect(f, s), device)[1]
                best[name] = min(best[name], seconds / len(frames))
        row = "".join(f"{1000 * best[name]:13.2f}" for name in methods)
        share = best["near"] * 32 / (best["decoding"] * 300)
        print(f"{path.name[:27]:28}{size[1]:>6}x{size[0]:<4}{1000 * best['decoding']:10.2f}{row}", end="")
        print(f"{best['facenet'] / best['near']:16.1f}{share:28.2f}", flush=True)


def compare_finds(videos: list[Path], device: str) -> None:
    """Print how many boxes of kept tracks the search finds of facenet-pytorch's, and near faces of its own in full."""
    facenet = FacenetDetector(min_size_px=SETTINGS.min_size_px, device=device)
    full, near = (our_detector(SETTINGS.min_size_px, device, every) for every in (1, SETTINGS.full_search_every))
    for n_frames in (8, 32):
        found = {"facenet": [], "every frame": [], "near": []}
        for path in videos:
            frames, size = sampled(path, n_frames, full.shrink)
            for name, detector in (("facenet", facenet), ("every frame", full), ("near", near)):
                found[name].append((path.name, detector.detect(frames, size)))
        for of, by in (("facenet", "every frame"), ("facenet", "near"), ("every frame", "near")):
            total, missed = 0, []
            for (name, theirs), (_, ours) in zip(found[of], found[by], strict=True):
                for number, (faces, kept) in enumerate(zip(theirs, kept_boxes(theirs), strict=True)):
                    overlap = box_iou(faces.boxes[kept], ours[number].boxes).max(axis=1, initial=0)
                    total += len(overlap)
                    missed += [
                        f"{name} sample {number} box {box.round().astype(int).tolist()} score {score:.3f}"
                        for box, score in zip(
                            faces.boxes[kept][overlap < SAME_FACE_IOU],
                            faces.scores[kept][overlap < SAME_FACE_IOU],
                            strict=True,
                        )
                    ]
            print(f"{n_frames:3} frames: '{by}' finds {total - len(missed)} of the {total} faces of '{of}'")
            print("".join(f"    not {line}\n" for line in missed), end="", flush=True)


def kept_boxes(found: list[FaceBoxes]) -> list[np.ndarray]:
    """Of each frame's boxes, a mask of those in tracks that the stage would keep."""
    tracker = FaceTracker(iou_threshold=SETTINGS.iou_threshold, max_gap=SETTINGS.max_gap, max_jump=0, scene_cuts=False)
    ids = [tracker.add(faces.boxes, pts_seconds=0.0) for faces in found]
    best: dict[int, float] = {}
    for faces, tracks in zip(found, ids, strict=True):
        for track, score in zip(tracks.tolist(), faces.scores.tolist(), strict=True):
            best[track] = max(score, best.get(track, 0.0))
    return [np.array([best[track] >= SETTINGS.track_score for track in tracks.tolist()], bool) for tracks in ids]


def compare_photos(folder: Path, device: str) -> None:
    """Print how many annotated faces of photographs are found, and which are not."""
    for min_size_px in (40, 20):
        for name, detector in (
            ("facenet", FacenetDetector(min_size_px=min_size_px, device=device)),
            ("ours", our_detector(min_size_px, device, 1)),
        ):
            found, errors, missed, others = match_photos(folder, detector)
            print(
                f"photos, {name}, min_size_px {min_size_px}: {found} of {found + len(missed)} annotated faces, points "
                f"off by {np.median(errors):.3f} of the distance of the eyes; faces without annotation: {others}"
            )
            print("".join(f"    not {line}\n" for line in missed), end="", flush=True)


def match_photos(folder: Path, detector: FaceDetector) -> tuple[int, list[float], list[str], dict[str, int]]:
    """Find the annotated faces of a folder of photographs.

    A box is a face's when it holds three quarters of its points (it often ends above the chin), and its sides are at
    most 2.2 times theirs.

    Args:
        folder: JPEG files, and XML files of dlib's imglab with 68 points a face.
        detector: What finds them.

    Returns:
        Number of faces found; mean distance of the five points of each from the annotated ones, as a share of the
        distance of the eyes; a line for each face not found; photograph -> boxes that are no annotated face's.
    """
    annotations = read_annotations(folder)
    errors, missed, others = [], [], {}
    for path in sorted(folder.glob("*.jpg")):
        image = read_image(path)
        (faces,) = detector.detect([detector.shrink(image)], image.shape[:2])
        taken = set()
        for face in annotations.get(path.name, []):
            low, high = face.points.min(axis=0), face.points.max(axis=0)
            holds = ((face.points >= faces.boxes[:, None, :2]) & (face.points <= faces.boxes[:, None, 2:])).all(axis=2)
            like_size = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1) <= 2.2 * (high - low).max()
            fitting = np.flatnonzero((holds.mean(axis=1) >= 0.75) & like_size)
            if not len(fitting):
                missed.append(f"{path.name} points within {np.concatenate([low, high]).round().astype(int).tolist()}")
                continue
            taken.add(int(fitting[0]))
            eyes = face.points[36:42].mean(axis=0), face.points[42:48].mean(axis=0)
            five = np.stack([*eyes, face.points[30], face.points[48], face.points[54]])
            distance = np.linalg.norm(faces.points[fitting[0]] - five, axis=1).mean()
            errors.append(float(distance / np.linalg.norm(eyes[0] - eyes[1])))
        if len(faces.boxes) > len(taken):
            others[path.name] = len(faces.boxes) - len(taken)
    return len(errors), errors, missed, others


def read_annotations(folder: Path) -> dict[str, list[Annotation]]:
    """The faces that the XML files of a folder annotate, by photograph."""
    faces: dict[str, list[Annotation]] = {}
    for path in sorted(folder.glob("*.xml")):
        for image in ElementTree.parse(path).iterfind("images/image"):
            for box in image.iterfind("box"):
                left, top, width, height = (int(box.get(key)) for key in ("left", "top", "width", "height"))
                parts = sorted(box.iterfind("part"), key=lambda part: part.get("name"))
                points = np.array([(float(part.get("x")), float(part.get("y"))) for part in parts])
                face = Annotation(np.array([left, top, left + width, top + height]), points)
                faces.setdefault(Path(image.get("file")).name, []).append(face)
    return faces


def sampled(path: Path, n_frames: int, shrink: Callable) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Evenly spaced frames as they are searched, and the (height, width) of the video."""
    info = probe_video(path)
    chosen = sample_frames(len(frame_times(path)), FramesSettings(n_frames=n_frames))
    return [shrink(frame) for _, frame in read_frames(path, chosen.tolist())], (info.height, info.width)


def decode(path: Path) -> int:
    """Number of frames that one thread of PyAV decodes."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def measured(work: Callable, device: str) -> tuple:
    """The result and the seconds of a call: CPU time on a CPU, wall-clock on a GPU."""
    on_gpu = not device.startswith("cpu")
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    begin = clock()
    result = work()
    if on_gpu:
        torch.cuda.synchronize()
    return result, clock() - begin


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos")
    parser.add_argument("--photos", type=Path, help="folder of photographs with annotations in dlib's XML")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=3, help="of the costs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.videos:
        videos = sorted(path for path in args.videos.iterdir() if path.is_file())
        compare_costs(videos, args.device, args.rounds)
        compare_finds(videos, args.device)
    if args.photos:
        compare_photos(args.photos, args.device)


if __name__ == "__main__":
    main()
