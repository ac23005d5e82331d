"""Settings that every detector's training shares; a family adds its own by inheriting (`detectors.ucf.UcfSettings`)."""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.settings import setting


@dataclass(frozen=True)
class TrainSettings:
    """How a detector is trained: what it reads, for how long, and with which optimiser."""

    backbone: str = setting(
        "legacy_xception", "timm name of the feature extractor; legacy_xception is the field's Xception."
    )
    pretrained: bool | str = setting(
        True, "true: ImageNet weights; a path: a timm checkpoint of the backbone; false: random, for tests and demos."
    )
    backbone_stride: int = setting(
        32, "Input pixels per feature; smaller keeps fine traces and shortens the backbone.", choices=(4, 8, 16, 32)
    )
    size: int = setting(256, "Side of the square input in pixels.", minimum=32)
    margin: float = setting(
        0.15,
        "Room around the face box, a fraction of its longer side on each side; beyond the stored crop it is black.",
        minimum=0,
    )
    augment: bool = setting(True, "false: train on the crops as they are (the ablation).")
    epochs: int = setting(10, "Passes over the drawn samples.", minimum=1)
    batch_size: int = setting(16, "Batch: pairs for a detector that trains on real-fake pairs, else crops.", minimum=1)
    samples_per_epoch: int | None = setting(
        None, "Crops drawn anew for each epoch; null: all. Set it when an epoch takes hours.", minimum=1
    )
    val_samples: int | None = setting(None, "Crops drawn once for validation; null: all.", minimum=1)
    val_share: float = setting(
        0.1, "Share of the source groups held out for validation in a data set without a val split.", minimum=0
    )
    learning_rate: float = setting(2e-4, "Adam's step size; 1e-4 at half the batch size.", minimum=0)
    weight_decay: float = setting(5e-4, "Adam's L2 penalty.", minimum=0)
    precision: str = setting(
        "16-mixed",
        "Arithmetic on a GPU; bf16-mixed needs no loss scaling but a recent GPU. A CPU always uses 32-true.",
        choices=("16-mixed", "bf16-mixed", "32-true"),
    )
    cpu_threads: int = setting(
        2,
        "Threads that compute where there is no GPU. Another number may change the last bits of weights and scores; "
        "the number of cores that the workflow is given does not.",
        minimum=1,
    )
