"""Detectors that first learn distances: faces of one class near each other, real and fake apart.

In the first `embedding_epochs` the embedding learns from distances alone. Then it is frozen, batch statistics included,
and a classifier learns from its vectors. Until the classifier has begun to learn every face scores 0.5, so that none of
the first epochs can be the best one.

- `Siamese`: a short embedding, the contrastive loss of Hadsell, Chopra and LeCun (CVPR 2006) over all pairs of a batch,
  then a perceptron with one hidden layer.
- `Triplet`: the backbone's own features, the triplet loss over all triplets of a batch, then one linear layer (the "ST"
  networks of Bonettini et al., *Video Face Manipulation Detection Through Ensemble of CNNs*, ICPR 2020).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from detectors.families.classifier import Classifier
from detectors.families.settings import MetricLearningSettings, SiameseSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.backbones import ClassificationNetwork
from detectors.networks.losses import pair_contrastive, pairs_of_batch, triplet_loss


class MetricLearner(Classifier):
    """What the two have in common; see the module."""

    Settings: ClassVar[type[NetworkSettings]] = MetricLearningSettings
    settings: MetricLearningSettings
    classifier_learns: Tensor

    def __init__(self, settings: MetricLearningSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self._embedding_learns = True
        self.register_buffer("classifier_learns", torch.tensor(False))

    @property
    @abstractmethod
    def embedding(self) -> nn.Module:
        """What learns in the first stage and is frozen in the second."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Vectors (N, channels) of uint8 images."""

    @abstractmethod
    def classify(self, vectors: Tensor) -> Tensor:
        """Logits (N, 2) of vectors."""

    @abstractmethod
    def embedding_loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """What the first stage minimises."""

    def logits(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))

    def losses(self, batch: dict) -> dict[str, Tensor]:
        if not self._embedding_learns:
            return super().losses(batch)
        loss = self.embedding_loss(self.embed(batch["image"]), batch["label"])
        return {"embedding": loss, "total": loss}

    def score(self, images: Tensor) -> Tensor:
        if not self.classifier_learns:
            return torch.full((len(images),), 0.5, device=images.device)
        return super().score(images)

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.embed(images)}

    def start_epoch(self, epoch: int) -> None:
        """Begin the stage that the epoch belongs to."""
        self._embedding_learns = epoch < self.settings.embedding_epochs
        self.classifier_learns.fill_(not self._embedding_learns)
        self.embedding.requires_grad_(self._embedding_learns)
        self.train(self.training)

    def train(self, mode: bool = True) -> MetricLearner:
        """As any module; a frozen embedding keeps its statistics of batch normalisation."""
        super().train(mode)
        if not self._embedding_learns:
            self.embedding.eval()
        return self


class Siamese(MetricLearner):
    """See the module."""

    Settings: ClassVar[type[NetworkSettings]] = SiameseSettings
    settings: SiameseSettings

    def __init__(self, settings: SiameseSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self.head = nn.Sequential(
            nn.Linear(settings.embedding_size, settings.hidden_size),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden_size, 2),
        )

    def make_network(self) -> nn.Module:
        """The embedding: its last layer gives vectors instead of logits."""
        return ClassificationNetwork(
            **self.settings.feature_extractor, n_classes=self.settings.embedding_size, dropout=0.0
        )

    @property
    def embedding(self) -> nn.Module:
        return self.network

    def embed(self, images: Tensor) -> Tensor:
        return self.network(self.inputs(images))

    def classify(self, vectors: Tensor) -> Tensor:
        return self.head(vectors)

    def embedding_loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The contrastive loss of all pairs of the batch."""
        one, other, same = pairs_of_batch(labels)
        return pair_contrastive(vectors[one], vectors[other], same, margin=self.settings.embedding_margin)


class Triplet(MetricLearner):
    """See the module."""

    @property
    def embedding(self) -> nn.Module:
        return self.network.body

    def embed(self, images: Tensor) -> Tensor:
        return self.network.vectors(self.inputs(images))

    def classify(self, vectors: Tensor) -> Tensor:
        return self.network.last(self.network.dropout(vectors))

    def embedding_loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """The triplet loss of all triplets of the batch."""
        return triplet_loss(vectors, labels, margin=self.settings.embedding_margin)
