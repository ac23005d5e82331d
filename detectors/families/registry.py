"""The classes of the detector families, and reading a trained detector back."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import torch

from detectors.families import FAMILIES
from detectors.interface.detector import Detector
from detectors.interface.settings import NetworkSettings
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.running.system_errors import brief


def detector_class(name: str) -> type[Detector]:
    """The class of a family.

    Raises:
        UserError: There is no such family.
    """
    if name not in FAMILIES:
        raise UserError(f"detector {name!r} is unknown; allowed: {', '.join(sorted(FAMILIES))}")
    return getattr(importlib.import_module(FAMILIES[name].module), FAMILIES[name].class_name)


def load_detector(path: str | Path, *, prediction_only: bool = True) -> tuple[Detector, dict]:
    """Read a `detector.ckpt`, in evaluation mode on the CPU.

    Args:
        path: What training wrote.
        prediction_only: Build and load only what scores a face.

    Returns:
        The detector, and the rest of the file: experiment, seed, detector, settings, methods, train (names of
        data sets) and thresholds (`frame`, `video`: at the equal error rate on validation data, or None).

    Raises:
        UserError: The file is absent or is no detector.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.pop("state_dict")
        family, methods = detector_class(checkpoint["detector"]), checkpoint["methods"]
    except OSError as error:
        raise UserError(f"cannot read the detector {path}: {brief(error)}. Train it again") from error
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        # PyTorch's own words advise to run what the file says
        raise UserError(f"cannot read the detector {path}: it is no detector, or not whole. Train it again") from error
    settings = load_settings(family.Settings, checkpoint["settings"])
    if isinstance(settings, NetworkSettings):
        # the weights come from the file: nothing may be fetched for them
        settings = settings.model_copy(update={"pretrained": False})
    detector = family(settings, methods, prediction_only=prediction_only)
    needed = detector.state_dict().keys()
    missing = sorted(needed - state.keys())
    if missing:
        raise UserError(f"the detector {path} lacks {len(missing)} weights, for example {missing[0]}: train it again")
    detector.load_state_dict({key: state[key] for key in needed})
    return detector.eval(), checkpoint
