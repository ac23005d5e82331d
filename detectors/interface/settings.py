"""Settings that detectors share; a family adds its own by inheriting (`detectors.families.ucf.UcfSettings`)."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.data.augmentation import CHAINS
from detectors.data.crop_window import SHAPES
from preprocess.face.margin import MARGIN
from preprocess.running.settings import setting

OPTIMIZERS = ("adam", "adamw", "sgd", "sam")
SCHEDULES = ("constant", "step", "cosine", "linear")


@dataclass(frozen=True)
class DetectorSettings:
    """What every detector reads, and what its training holds out."""

    size: int = setting(256, "Side of the square input in pixels.", minimum=32)
    margin: float | str = setting(
        0.15,
        "Room around the face box on each side, a fraction of its longer side (of its width and height for the shapes "
        "pad and stretch), or pixels of the frame such as '30px'; beyond the stored crop it is black.",
        minimum=0,
        pattern=MARGIN,
    )
    shape: str = setting(
        "square",
        "square: a square around the box; pad: the box with its margins, its longer side resized, the rest black; "
        "stretch: the box with its margins, both sides resized.",
        choices=SHAPES,
    )
    val_samples: int | None = setting(
        None, "Crops drawn once for validation, of whole tracks where these are scored; null: all.", minimum=1
    )
    val_share: float = setting(
        0.1,
        "Share of the source groups held out for validation in a data set without a val split.",
        minimum=0,
        maximum=1,
    )
    cpu_threads: int = setting(
        2,
        "Threads that compute where there is no GPU. Another number may change the last bits of weights and scores; "
        "the number of cores that the workflow is given does not.",
        minimum=1,
    )


@dataclass(frozen=True)
class NetworkSettings(DetectorSettings):
    """How a network is trained: what it is, what it reads, for how long, and with which optimiser."""

    backbone: str = setting(
        "legacy_xception", "timm name of the feature extractor; legacy_xception is the field's Xception."
    )
    pretrained: bool | str = setting(
        True, "true: ImageNet weights; a path: a timm checkpoint of the backbone; false: random, for tests and demos."
    )
    backbone_stride: int = setting(
        32, "Input pixels per feature; smaller keeps fine traces and shortens the backbone.", choices=(4, 8, 16, 32)
    )
    augmentation: str = setting(
        "ucf",
        "Chain of random changes to training crops, by name (docs/detectors.md); none trains on them as they are.",
        choices=tuple(CHAINS),
    )
    epochs: int = setting(10, "Passes over the drawn samples.", minimum=1)
    batch_size: int = setting(16, "Batch: pairs for a detector that trains on real-fake pairs, else crops.", minimum=1)
    accumulate_batches: int = setting(
        1, "Batches whose gradients are summed for one step: a larger batch than the memory holds.", minimum=1
    )
    samples_per_epoch: int | None = setting(
        None, "Crops drawn anew for each epoch; null: all. Set it when an epoch takes hours.", minimum=1
    )
    optimizer: str = setting(
        "adam",
        "adam; adamw, whose weight decay is apart from the gradient; sgd with momentum; sam, sharpness-aware "
        "minimisation over sgd, twice the time for a step.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = setting(2e-4, "Step size; 1e-4 at half the batch size.", minimum=0)
    weight_decay: float = setting(5e-4, "L2 penalty on the weights.", minimum=0)
    momentum: float = setting(0.9, "Of sgd and sam.", minimum=0, maximum=1)
    sam_radius: float = setting(0.05, "Length of sam's step uphill, the paper's rho.", minimum=0)
    schedule: str = setting(
        "constant",
        "Learning rate over the epochs: constant; step, times step_factor after every step_epochs; cosine, to 0 at "
        "the end; linear, constant for constant_share of the epochs, then straight to 0.",
        choices=SCHEDULES,
    )
    step_epochs: int = setting(5, "Epochs between the steps of the schedule step.", minimum=1)
    step_factor: float = setting(0.5, "What the schedule step multiplies the learning rate by.", minimum=0)
    constant_share: float = setting(
        0.75, "Share of the epochs before the schedule linear begins to fall.", minimum=0, maximum=1
    )
    precision: str = setting(
        "16-mixed",
        "Arithmetic on a GPU; bf16-mixed needs no loss scaling, which sam cannot follow, but a recent GPU. A CPU "
        "always uses 32-true.",
        choices=("16-mixed", "bf16-mixed", "32-true"),
    )
    gpus: int = setting(
        1,
        "GPUs of one machine that train together, each on its part of every batch; a CPU trains alone. Losses over "
        "pairs of a batch, and batch normalisation, see the part.",
        minimum=1,
    )
    compile: bool = setting(
        False, "true: compile the network with torch.compile; pays after some minutes of training on a GPU."
    )
    channels_last: bool = setting(
        False, "true: keep channels innermost in memory, which convolutions in half precision on a GPU prefer."
    )

    @property
    def feature_extractor(self) -> dict:
        """The backbone in keyword arguments, as every network takes them: name, pretrained, stride."""
        return {"name": self.backbone, "pretrained": self.pretrained, "stride": self.backbone_stride}
