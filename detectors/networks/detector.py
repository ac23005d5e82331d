"""What every family that is a network derives from."""

from __future__ import annotations

import dataclasses

from detectors.interface.combinations import mistaken_combinations
from detectors.interface.detector import Fitted, Training
from detectors.networks.network import TrainableNetwork
from detectors.networks.trainer import train_network
from preprocess.running.cli import UserError


class NetworkDetector(TrainableNetwork):
    """A network that Lightning trains: epoch by epoch, exactly resumable, the best epoch kept."""

    def fit(self, training: Training) -> Fitted:
        if mistakes := mistaken_combinations(dataclasses.asdict(self.settings)):
            raise UserError("\n".join(mistakes))
        return train_network(self, training)
