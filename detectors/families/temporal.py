"""A backbone and a bidirectional LSTM over the frames of a face track: one score for the track.

The backbone makes a vector of every frame, a bidirectional LSTM (Hochreiter and Schmidhuber 1997; Graves and
Schmidhuber 2005) reads the vectors in the order of time, and its two last states together give one logit. Only the
last layers of the backbone learn, and if wanted more of them with every epoch (gradual unfreezing, Howard and Ruder,
ACL 2018).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import Dataset

from detectors.data.samples import Samples
from detectors.data.scoring_set import ScoringSet
from detectors.families.classifier import Classifier
from detectors.families.clips import LabelledClips, TrackClips, n_frames_of
from detectors.families.settings import TemporalSettings
from detectors.interface.settings import NetworkSettings
from detectors.networks.backbones import VectorNetwork

log = logging.getLogger("detectors")


class SequenceNetwork(nn.Module):
    """Vectors of frames, an LSTM over them, and one logit: (n, n_frames, 3, height, width) to (n,).

    Args:
        backbone: Images (N, 3, height, width) to vectors (N, `backbone.channels`).
        lstm_size: Length of a state.
        lstm_layers: LSTMs one upon the other.
        dropout: Probability, before the last layer.
    """

    def __init__(self, backbone: VectorNetwork, *, lstm_size: int, lstm_layers: int, dropout: float):
        super().__init__()
        self.backbone = backbone
        self.lstm = nn.LSTM(backbone.channels, lstm_size, lstm_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(2 * lstm_size, 1)

    def states(self, clips: Tensor, n_frames: Tensor) -> Tensor:
        """(n, 2 lstm_size): where the LSTM ends, forwards and backwards.

        Args:
            clips: (n, n_frames, 3, height, width), normalised.
            n_frames: (n,) int64, of each clip; what lies behind them has no influence on anything.
        """
        is_frame = torch.arange(clips.shape[1], device=clips.device) < n_frames[:, None]
        # the others would change the statistics of batch normalisation
        of_frames = self.backbone(clips[is_frame])
        vectors = of_frames.new_zeros(*is_frame.shape, of_frames.shape[1])
        vectors[is_frame] = of_frames
        packed = pack_padded_sequence(vectors, n_frames.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return torch.cat([last[-2], last[-1]], dim=1)

    def forward(self, clips: Tensor, n_frames: Tensor) -> Tensor:
        """Logits, see `states`."""
        return self.last(self.dropout(self.states(clips, n_frames)))[:, 0]


class Temporal(Classifier):
    """See the module."""

    Settings: ClassVar[type[NetworkSettings]] = TemporalSettings
    settings: TemporalSettings

    def __init__(self, settings: TemporalSettings, methods: list[str], *, prediction_only: bool = False):
        super().__init__(settings, methods, prediction_only=prediction_only)
        self._frozen: list[nn.Module] = []

    def make_network(self) -> nn.Module:
        settings = self.settings
        return SequenceNetwork(
            VectorNetwork(**settings.feature_extractor),
            lstm_size=settings.lstm_size,
            lstm_layers=settings.lstm_layers,
            dropout=settings.dropout,
        )

    @property
    def crops_per_item(self) -> int:
        return self.settings.n_frames

    def training_set(self, samples: Samples, data: Path, seed: int) -> Dataset:
        if self.settings.pretrained is False and self.settings.unfrozen_layers is not None:
            log.warning(
                "unfrozen_layers: found %d with random weights (pretrained: false): the others of %s stay random; "
                "null lets all of them learn",
                self.settings.unfrozen_layers,
                self.settings.backbone,
            )
        return LabelledClips(
            data / "crops",
            samples,
            self.window,
            n_frames=self.settings.n_frames,
            seed=seed,
            augmentation=self.settings.augmentation,
            balance=self.settings.balance,
        )

    def scoring_set(self, samples: Samples, data: Path) -> ScoringSet:
        return TrackClips(data / "crops", samples, self.window, self.settings.n_frames)

    def logits(self, images: Tensor) -> Tensor:
        """(n, 2): real, fake, of uint8 clips; the logit of real is 0, which makes the loss the binary one."""
        logit = self.network(self.inputs(images), n_frames_of(images))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)

    def vectors(self, images: Tensor) -> dict[str, Tensor]:
        return {"clip": self.network.states(self.inputs(images), n_frames_of(images))}

    def find_cam_layer(self) -> nn.Module | None:
        return None  # feature maps are of frames, scores of clips

    def start_epoch(self, epoch: int) -> None:
        """Let the backbone's last layers learn, and as many more as belong to this epoch."""
        layers = layers_of(self.network.backbone)
        settings = self.settings
        n_learning = len(layers)
        if settings.unfrozen_layers is not None:
            n_learning = min(n_learning, settings.unfrozen_layers + epoch * settings.unfreeze_per_epoch)
        self._frozen = layers[: len(layers) - n_learning]
        for number, layer in enumerate(layers):
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(number >= len(self._frozen))
        self.train(self.training)

    def train(self, mode: bool = True) -> Temporal:
        """As any module; frozen layers keep their statistics of batch normalisation."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The modules that have weights or statistics of their own, from the input to the output of a timm model."""
    return [
        module
        for module in network.modules()
        if any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))
    ]
