"""The detector families by name, without importing any of them: the workflow plans without PyTorch.

May import: `networks`, `measures`, `interface`, `data`; of preprocess `settings`, `face`,
`store`, `running`.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.families import settings
from detectors.interface.settings import DetectorSettings

CROPS, LANDMARKS, MASKS = "crops", "landmarks", "masks"


@dataclass(frozen=True)
class Family:
    """Where a family is, and what its training reads.

    Attributes:
        module: Imported when the family is asked for.
        class_name: Its `detectors.interface.detector.Detector` there.
        settings: Its settings.
        reads: Stages of the store whose files training needs; prediction reads crops alone.
    """

    module: str
    class_name: str
    settings: type[DetectorSettings]
    reads: tuple[str, ...] = (CROPS,)


FAMILIES = {
    "ucf": Family("detectors.families.ucf", "Ucf", settings.UcfSettings),
    "classifier": Family("detectors.families.classifier", "Classifier", settings.ClassifierSettings),
    "spsl": Family("detectors.families.spsl", "Spsl", settings.SpslSettings),
    "sbi": Family("detectors.families.sbi.detector", "Sbi", settings.SbiSettings, reads=(CROPS, LANDMARKS)),
    "siamese": Family("detectors.families.metric_learning", "Siamese", settings.SiameseSettings),
    "triplet": Family("detectors.families.metric_learning", "Triplet", settings.MetricLearningSettings),
    "temporal": Family("detectors.families.temporal", "Temporal", settings.TemporalSettings),
    "lav": Family("detectors.families.lav.detector", "Lav", settings.LavSettings, reads=(CROPS, LANDMARKS, MASKS)),
    "dct": Family("detectors.families.handmade.dct", "Dct", settings.DctSettings),
    "ela": Family("detectors.families.handmade.ela", "Ela", settings.ElaSettings),
    "ela_cnn": Family("detectors.families.handmade.ela", "ElaCnn", settings.ElaCnnSettings),
    "sift": Family("detectors.families.handmade.sift", "Sift", settings.SiftSettings),
}
