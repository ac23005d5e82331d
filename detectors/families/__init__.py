"""The detector families by name, without importing any of them: the workflow plans without PyTorch.

May import: `networks`, `measures`, `interface`, `data`; of preprocess `face`, `store`, `running`.
"""

from __future__ import annotations

from dataclasses import dataclass

CROPS, LANDMARKS, MASKS = "crops", "landmarks", "masks"


@dataclass(frozen=True)
class Family:
    """Where a family is, and what its training reads.

    Attributes:
        module: Imported when the family is asked for.
        class_name: Its `detectors.interface.detector.Detector` there.
        reads: Stages of the store whose files training needs; prediction reads crops alone.
    """

    module: str
    class_name: str
    reads: tuple[str, ...] = (CROPS,)


FAMILIES = {
    "ucf": Family("detectors.families.ucf", "Ucf"),
    "classifier": Family("detectors.families.classifier", "Classifier"),
    "spsl": Family("detectors.families.spsl", "Spsl"),
    "sbi": Family("detectors.families.sbi.detector", "Sbi", reads=(CROPS, LANDMARKS)),
    "siamese": Family("detectors.families.metric_learning", "Siamese"),
    "triplet": Family("detectors.families.metric_learning", "Triplet"),
    "temporal": Family("detectors.families.temporal", "Temporal"),
    "lav": Family("detectors.families.lav.detector", "Lav", reads=(CROPS, LANDMARKS, MASKS)),
    "dct": Family("detectors.families.handmade.dct", "Dct"),
    "ela": Family("detectors.families.handmade.ela", "Ela"),
    "ela_cnn": Family("detectors.families.handmade.ela", "ElaCnn"),
    "sift": Family("detectors.families.handmade.sift", "Sift"),
}
