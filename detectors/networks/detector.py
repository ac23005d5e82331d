"""What every family that is a network derives from."""

from __future__ import annotations

from detectors.interface.detector import Fitted, Training
from detectors.networks.network import TrainableNetwork
from detectors.networks.trainer import train_network


class NetworkDetector(TrainableNetwork):
    """A network that Lightning trains: epoch by epoch, exactly resumable, the best epoch kept."""

    def fit(self, training: Training) -> Fitted:
        return train_network(self, training)
