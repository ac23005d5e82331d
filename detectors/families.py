"""The detector families by name, without importing any of them: the workflow plans without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

CROPS, LANDMARKS, MASKS = "crops", "landmarks", "masks"


@dataclass(frozen=True)
class Family:
    """Where a family is, and what its training reads.

    Attributes:
        module: Imported when the family is asked for.
        class_name: Its `detectors.detector.Detector` there.
        reads: Stages of the store whose files training needs; prediction reads crops alone.
    """

    module: str
    class_name: str
    reads: tuple[str, ...] = (CROPS,)


FAMILIES = {
    "ucf": Family("detectors.ucf", "Ucf"),
    "classifier": Family("detectors.classifier", "Classifier"),
    "spsl": Family("detectors.spsl", "Spsl"),
    "sbi": Family("detectors.sbi", "Sbi", reads=(CROPS, LANDMARKS)),
    "siamese": Family("detectors.metric_learning", "Siamese"),
    "triplet": Family("detectors.metric_learning", "Triplet"),
    "temporal": Family("detectors.temporal", "Temporal"),
    "lav": Family("detectors.lav", "Lav", reads=(CROPS, LANDMARKS, MASKS)),
    "dct": Family("detectors.dct", "Dct"),
    "ela": Family("detectors.ela", "Ela"),
    "ela_cnn": Family("detectors.ela", "ElaCnn"),
    "sift": Family("detectors.sift", "Sift"),
}
