"""Settings of the detector families, apart from the families themselves: planning reads them, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from detectors.interface.settings import (
    Balance,
    DetectorSettings,
    NetworkSettings,
    Optimizer,
    Precision,
    Schedule,
)
from preprocess.running.settings import Share, other_default
from preprocess.settings.crops import Margin

VectorClassifier = Literal["svm", "logistic_regression", "random_forest", "gradient_boosting", "adaboost"]
# chains that move the face before it is cut, so that its mask follows
MaskedAugmentation = Literal["none", "ucf", "jpeg_quality", "dfdc_subset"]

_QUALITY = "Quality of the compression whose errors are looked at, 1 to 100."


class UcfSettings(NetworkSettings):
    """Settings of UCF; the defaults are the paper's."""

    channels: int = Field(
        512,
        ge=8,
        multiple_of=8,
        description="Channels of content and forgery features, a multiple of 8; 128 trains on a laptop.",
    )
    dropout: Share = Field(0.2, description="Dropout before the last layer of the heads.")
    decoder_dropout: Share = Field(0.3, description="Dropout in the decoder.")
    permute_probability: Share = Field(
        0.7, description="How often common features change places, reals among reals and fakes among fakes."
    )
    specific_weight: float = Field(0.1, ge=0, description="Weight of the method classification.")
    reconstruction_weight: float = Field(0.3, ge=0, description="Weight of the four reconstructions.")
    contrastive_weight: float = Field(0.05, ge=0, description="Weight of the contrastive loss.")
    contrastive_margin: float = Field(3.0, ge=0, description="Margin of the contrastive loss, an L2 distance.")


class ClassifierSettings(NetworkSettings):
    """Settings of a plain classifier."""

    dropout: Share = Field(0.0, description="Dropout before the last layer.")
    normalisation: Literal["half", "imagenet"] = Field(
        "half",
        description="How pixels become input: half is (value - 0.5) / 0.5, as DeepfakeBench has it for every detector; "
        "imagenet is the mean and deviation that most timm weights were trained with.",
    )
    loss: Literal["cross_entropy", "focal"] = Field("cross_entropy", description="focal counts easy faces less.")
    fake_weight: Share = Field(
        0.5,
        description="Weight of fakes in the loss, reals weigh one minus it; 0.25 with the focal loss of the studies.",
    )
    focal_gamma: float = Field(2.0, ge=0, description="How much less the focal loss counts easy faces.")
    label_smoothing: Share = Field(0.0, description="Share of the target spread over both classes (cross_entropy).")
    balance: Balance = Field(
        "none",
        description="What an epoch draws: none, the samples as they are; label, as many reals as fakes; method, "
        "besides, as many fakes of each method.",
    )


class SpslSettings(ClassifierSettings):
    """Settings of SPSL; the defaults are the paper's. At batches of 16 the published learning rate is 1.414e-4."""

    phase: bool = Field(True, description="false: colours alone (the ablation).")
    phase_gain: float = Field(
        1.0,
        ge=0,
        description="Factor on the phase image, whose root mean square is 1 / size as published: 256 raises it to that "
        "of the colours, which learns faster from random weights.",
    )


class SbiSettings(NetworkSettings):
    """Settings of SBI; the defaults are the paper's, as far as a network has them."""

    backbone: str = other_default(NetworkSettings, "backbone", "tf_efficientnet_b4.ns_jft_in1k")
    size: int = other_default(NetworkSettings, "size", 380)
    margin: Margin = other_default(
        NetworkSettings,
        "margin",
        0.125,
        "Room around the face box on each side, a fraction of its width and height, or pixels of the frame such as "
        "'30px'; training draws each side's anew from 0.4 to 1.6 times it.",
    )
    shape: Literal["stretch", "square"] = Field(
        "stretch",
        description="stretch: the box with its margins, both sides resized, as published; square: a square around "
        "them.",
    )
    augmentation: Literal["none"] = Field(
        "none", description="SBI has random changes of its own, the same for a real and its blend."
    )
    hsv_shift: float = Field(
        0.3,
        ge=0,
        description="Largest shift of hue (in steps of two degrees), saturation and value (of 255). The published 0.3 "
        "changes next to nothing; 10 is a visible change.",
    )
    dropout: Share = Field(0.0, description="Dropout before the last layer.")
    epochs: int = other_default(NetworkSettings, "epochs", 100)
    batch_size: int = other_default(NetworkSettings, "batch_size", 16, "Pairs of a real and its blend.")
    optimizer: Optimizer = other_default(NetworkSettings, "optimizer", "sam")
    learning_rate: float = other_default(NetworkSettings, "learning_rate", 1e-3, "Step size.")
    weight_decay: float = other_default(NetworkSettings, "weight_decay", 0.0)
    schedule: Schedule = other_default(NetworkSettings, "schedule", "linear")
    precision: Precision = other_default(
        NetworkSettings,
        "precision",
        "bf16-mixed",
        "Arithmetic on a GPU; 16-mixed goes with every optimizer but sam. A CPU always uses 32-true.",
    )


class MetricLearningSettings(ClassifierSettings):
    """Of `siamese` and `triplet`; those of the loss (`loss`, `fake_weight`, ...) are of the second stage."""

    embedding_epochs: int = Field(
        5, ge=1, description="First epochs, in which the embedding learns; the other epochs are the classifier's."
    )
    embedding_margin: float = Field(
        1.0, ge=0, description="How much farther apart real and fake are to lie, an L2 distance between vectors."
    )
    balance: Balance = other_default(ClassifierSettings, "balance", "label")

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if self.embedding_epochs >= self.epochs:
            yield (
                f"embedding_epochs: found {self.embedding_epochs} with {self.epochs} epochs, which leaves none for the "
                "classifier; raise epochs or lower embedding_epochs"
            )


class SiameseSettings(MetricLearningSettings):
    """Settings of the Siamese detector."""

    embedding_size: int = Field(48, ge=1, description="Length of the vectors.")
    hidden_size: int = Field(48, ge=1, description="Hidden units of the classifier.")


class TemporalSettings(ClassifierSettings):
    """Settings of the temporal detector, optimiser and schedule the study's; `samples_per_epoch` counts crops."""

    size: int = other_default(ClassifierSettings, "size", 224)
    n_frames: int = Field(10, ge=1, description="Frames of a track that the LSTM reads, evenly spaced.")
    lstm_size: int = Field(128, ge=1, description="Length of the LSTM's state in each direction.")
    lstm_layers: int = Field(1, ge=1, description="LSTMs one upon the other.")
    unfrozen_layers: int | None = Field(
        18,
        ge=0,
        description="Last layers of the backbone, of those with weights, that learn in the first epoch; null: all. The "
        "others stay as they were loaded: set null with random weights.",
    )
    unfreeze_per_epoch: int = Field(
        0, ge=0, description="How many layers more learn with each epoch (gradual unfreezing), the last ones first."
    )
    batch_size: int = other_default(ClassifierSettings, "batch_size", 32, "Clips in a batch; each is n_frames crops.")
    optimizer: Optimizer = other_default(ClassifierSettings, "optimizer", "adamw")
    learning_rate: float = other_default(ClassifierSettings, "learning_rate", 3e-4, "Step size.")
    schedule: Schedule = other_default(ClassifierSettings, "schedule", "cosine")


class LavSettings(NetworkSettings):
    """Settings of LAV; the defaults are the paper's. It also reads landmarks and masks."""

    size: int = other_default(
        NetworkSettings, "size", 299, "Side of the square input in pixels; 299 gives maps of 19 x 19."
    )
    learning_rate: float = other_default(NetworkSettings, "learning_rate", 5e-4, "Step size.")
    weight_decay: float = other_default(NetworkSettings, "weight_decay", 0.0)
    schedule: Schedule = other_default(NetworkSettings, "schedule", "step")
    augmentation: MaskedAugmentation = Field(
        "ucf",
        description="Chain of random changes to training crops, by name; only those that move the face before it is "
        "cut, so that its mask follows.",
    )
    fusion_channels: int = Field(
        128, ge=8, description="Channels to which the location branch and the head bring the maps of all stages."
    )
    dropout: Share = other_default(ClassifierSettings, "dropout", 0.2)
    location_weight: float = Field(1.0, ge=0, description="Weight of what the masks teach; 0 for the ablation.")
    similarity_weight: float = Field(
        1.0, ge=0, description="Weight of what resemblance teaches of fakes without a mask; 0 for the ablation."
    )
    similarity_momentum: Share = Field(
        0.9, description="Share of the mean features of real and fake patches that a batch leaves as it was."
    )
    balance: Balance = other_default(ClassifierSettings, "balance", "label")


class HandmadeSettings(DetectorSettings):
    """How a detector without a network learns."""

    classifier: VectorClassifier = Field(
        "random_forest",
        description="Classifier of the vectors: svm, with Gaussian kernel, slow from 20,000 vectors on; "
        "logistic_regression; random_forest; gradient_boosting; adaboost.",
    )
    train_samples: int = Field(
        2000, ge=2, description="Crops drawn once to learn from, half real and half fake; more take memory and time."
    )
    vectors_per_crop: int = Field(
        8,
        ge=1,
        description="Vectors drawn of each of these crops, where a crop gives several; a score always takes all.",
    )
    pca_components: int = Field(
        64, ge=1, description="Principal components of the vectors that the classifier sees; fewer learn faster."
    )


class DctSettings(HandmadeSettings):
    """Settings of the block DCT."""

    block_px: int = Field(
        32, ge=4, description="Side of the blocks in pixels of the input; a rest at the edges is not read."
    )
    skin_only: bool = Field(
        True,
        description="true: learn from blocks of which at least half the pixels have the colour of skin, where a face "
        "has any.",
    )


class ElaSettings(HandmadeSettings):
    """Settings of error level analysis with a classifier of vectors."""

    classifier: VectorClassifier = other_default(HandmadeSettings, "classifier", "svm")
    quality: int = Field(90, ge=1, le=100, description=_QUALITY)
    grid: int = Field(32, ge=1, description="Cells on a side; of each, the mean error of every colour.")


class ElaCnnSettings(ClassifierSettings):
    """Settings of error level analysis with a network."""

    quality: int = Field(90, ge=1, le=100, description=_QUALITY)
    gain: float = Field(10.0, ge=0, description="What the errors are multiplied by; beyond 255 they are cut off.")


class SiftSettings(HandmadeSettings):
    """Settings of SIFT."""

    max_keypoints: int = Field(100, ge=1, description="Key points of a face, those with the most contrast.")
    min_contrast: float = Field(
        0.04,
        ge=0,
        description="Contrast of a key point, Lowe's and OpenCV's threshold; lower finds more on smooth faces.",
    )
