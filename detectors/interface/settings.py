"""Settings that detectors share; a family adds its own by inheriting (`detectors.families.settings`).

Planning reads them too, so nothing here imports PyTorch or OpenCV. Where a setting names something that another module
holds, as the chains of augmentation, a test holds the two lists together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from preprocess.running.settings import Settings, Share
from preprocess.settings.crops import Margin

Shape = Literal["square", "pad", "stretch"]
Augmentation = Literal["none", "ucf", "default", "default_dropout", "default_gridmask", "dfdc_subset", "jpeg_quality"]
Balance = Literal["none", "label", "method"]
Optimizer = Literal["adam", "adamw", "sgd", "sam"]
Schedule = Literal["constant", "step", "cosine", "linear"]
Precision = Literal["16-mixed", "bf16-mixed", "32-true"]


class DetectorSettings(Settings):
    """What every detector reads, and what its training holds out."""

    size: int = Field(256, ge=32, description="Side of the square input in pixels.")
    margin: Margin = Field(
        0.15,
        description="Room around the face box on each side, a fraction of its longer side (of its width and height for "
        "the shapes pad and stretch), or pixels of the frame such as '30px'; beyond the stored crop it is black.",
    )
    shape: Shape = Field(
        "square",
        description="square: a square around the box; pad: the box with its margins, its longer side resized, the rest "
        "black; stretch: the box with its margins, both sides resized.",
    )
    val_samples: int | None = Field(
        None,
        ge=1,
        description="Crops drawn once for validation, of whole tracks where these are scored; null: all.",
    )
    val_share: Share = Field(
        0.1, description="Share of the source groups held out for validation in a data set without a val split."
    )
    cpu_threads: int = Field(
        2,
        ge=1,
        description="Threads that compute where there is no GPU. Another number may change the last bits of weights "
        "and scores; the number of cores that the workflow is given does not.",
    )


class NetworkSettings(DetectorSettings):
    """How a network is trained: what it is, what it reads, for how long, and with which optimiser."""

    backbone: str = Field(
        "legacy_xception",
        description="timm name of the feature extractor; legacy_xception is the field's Xception.",
    )
    pretrained: bool | str = Field(
        True,
        description="true: ImageNet weights; a path: a timm checkpoint of the backbone; false: random, for tests and "
        "demos.",
    )
    backbone_stride: Literal[4, 8, 16, 32] = Field(
        32, description="Input pixels per feature; smaller keeps fine traces and shortens the backbone."
    )
    augmentation: Augmentation = Field(
        "ucf",
        description="Chain of random changes to training crops, by name (docs/detectors.md); none trains on them as "
        "they are.",
    )
    epochs: int = Field(10, ge=1, description="Passes over the drawn samples.")
    batch_size: int = Field(
        16, ge=1, description="Batch: pairs for a detector that trains on real-fake pairs, else crops."
    )
    accumulate_batches: int = Field(
        1,
        ge=1,
        description="Batches whose gradients are summed for one step: a larger batch than the memory holds.",
    )
    samples_per_epoch: int | None = Field(
        None, ge=1, description="Crops drawn anew for each epoch; null: all. Set it when an epoch takes hours."
    )
    optimizer: Optimizer = Field(
        "adam",
        description="adam; adamw, whose weight decay is apart from the gradient; sgd with momentum; sam, "
        "sharpness-aware minimisation over sgd, twice the time for a step.",
    )
    learning_rate: float = Field(2e-4, ge=0, description="Step size; 1e-4 at half the batch size.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on the weights.")
    momentum: Share = Field(0.9, description="Of sgd and sam.")
    sam_radius: float = Field(0.05, ge=0, description="Length of sam's step uphill, the paper's rho.")
    schedule: Schedule = Field(
        "constant",
        description="Learning rate over the epochs: constant; step, times step_factor after every step_epochs; cosine, "
        "to 0 at the end; linear, constant for constant_share of the epochs, then straight to 0.",
    )
    step_epochs: int = Field(5, ge=1, description="Epochs between the steps of the schedule step.")
    step_factor: float = Field(0.5, ge=0, description="What the schedule step multiplies the learning rate by.")
    constant_share: Share = Field(0.75, description="Share of the epochs before the schedule linear begins to fall.")
    precision: Precision = Field(
        "16-mixed",
        description="Arithmetic on a GPU; bf16-mixed needs no loss scaling, which sam cannot follow, but a recent GPU. "
        "A CPU always uses 32-true.",
    )
    gpus: int = Field(
        1,
        ge=1,
        description="GPUs of one machine that train together, each on its part of every batch; a CPU trains alone. "
        "Losses over pairs of a batch, and batch normalisation, see the part.",
    )
    compile: bool = Field(
        False, description="true: compile the network with torch.compile; pays after some minutes of training on a GPU."
    )
    channels_last: bool = Field(
        False,
        description="true: keep channels innermost in memory, which convolutions in half precision on a GPU prefer.",
    )

    @property
    def feature_extractor(self) -> dict:
        """The backbone in keyword arguments, as every network takes them: name, pretrained, stride."""
        return {"name": self.backbone, "pretrained": self.pretrained, "stride": self.backbone_stride}

    def contradictions(self) -> Iterator[str]:
        if self.batch_size % self.gpus:
            yield (
                f"batch_size: found {self.batch_size}, which {self.gpus} GPUs cannot share; choose a multiple of "
                f"{self.gpus}, or other gpus"
            )
        if self.optimizer == "sam" and self.precision == "16-mixed":
            yield (
                "precision: found '16-mixed' with the optimizer 'sam', whose two passes a loss scaling cannot follow; "
                "set precision to 'bf16-mixed' or '32-true'"
            )
        if self.optimizer == "sam" and self.accumulate_batches > 1:
            yield (
                f"accumulate_batches: found {self.accumulate_batches} with the optimizer 'sam', which needs the whole "
                "batch in both of its passes; set it to 1"
            )
