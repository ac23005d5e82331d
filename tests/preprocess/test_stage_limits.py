"""Defaults of the stages' settings, and the smallest and the largest value that is taken."""

from __future__ import annotations

import pytest

from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings
from preprocess.landmarks import LandmarksSettings
from preprocess.masks import MasksSettings
from preprocess.running.cli import UserError
from preprocess.running.settings import load_settings
from preprocess.settings.index import IndexSettings
from preprocess.synthetic import SyntheticSettings
from preprocess.train_predictor import PredictorSettings

# settings, name, default, smallest and largest value; None: no limit
LIMITS = [
    (IndexSettings, "test_share", 0.3, 0.0, None),
    (IndexSettings, "downsample_fakes", 1, 1, None),
    (IndexSettings, "downsample_seed", 0, None, None),
    (FramesSettings, "n_frames", 32, 1, None),
    (FramesSettings, "stride", 10, 1, None),
    # the smallest face that MTCNN sees
    (FacesSettings, "min_size_px", 40, 12, None),
    (FacesSettings, "score_threshold", 0.9, 0.0, 1.0),
    (FacesSettings, "track_score", 0.995, 0.0, 1.0),
    (FacesSettings, "iou_threshold", 0.3, 0.0, 1.0),
    (FacesSettings, "max_jump", 1.25, 0.0, None),
    (FacesSettings, "max_gap", 2, 0, None),
    (FacesSettings, "min_track_frames", 1, 1, None),
    (FacesSettings, "faces_per_video", None, 1, None),
    (FacesSettings, "full_search_every", 4, 1, None),
    (FacesSettings, "batch_size", 32, 1, None),
    (FacesSettings, "scene_cuts", True, None, None),
    (FacesSettings, "inherit", True, None, None),
    (CropsSettings, "margin", 0.5, 0.0, None),
    (CropsSettings, "max_size_px", None, 16, None),
    (LandmarksSettings, "batch_size", 256, 1, None),
    (MasksSettings, "mask_video_threshold", 64, 1, None),
    (MasksSettings, "difference_threshold", 0.07, 0.0, None),
    (MasksSettings, "difference_noise_factor", 1.25, 0.0, None),
    (SyntheticSettings, "seed", 0, 0, None),
    (SyntheticSettings, "n_sources", 32, 4, None),
    (SyntheticSettings, "fakes_per_source", 2, 1, None),
    (SyntheticSettings, "n_frames", 24, 2, None),
    (SyntheticSettings, "height", 360, 180, None),
    (SyntheticSettings, "width", 480, 240, None),
    (SyntheticSettings, "fps", 25.0, 1.0, None),
    (SyntheticSettings, "n_scenes", 1, 0, None),
    (SyntheticSettings, "extras", True, None, None),
    (PredictorSettings, "seed", 0, None, None),
    (PredictorSettings, "n_portraits", 500, 2, None),
    (PredictorSettings, "portraits_per_person", 5, 1, None),
    (PredictorSettings, "boxes_per_portrait", 2, 1, None),
    (PredictorSettings, "min_side_px", 180, 120, None),
    (PredictorSettings, "max_side_px", 360, 120, None),
    (PredictorSettings, "cascade_depth", 8, 1, None),
    (PredictorSettings, "trees_per_level", 80, 1, None),
    (PredictorSettings, "tree_depth", 3, 1, None),
    (PredictorSettings, "shrinkage", 0.25, 0.001, None),
    (PredictorSettings, "oversampling", 8, 1, None),
    (PredictorSettings, "split_candidates", 20, 1, None),
    (PredictorSettings, "pool_size", 400, 2, None),
]
# what else has to be said for a value at its limit
BESIDES = {"n_sources": {"extras": False}, "max_side_px": {"min_side_px": 120}}


@pytest.mark.parametrize(
    ("settings", "name", "default", "least", "most"), LIMITS, ids=[f"{row[0].__name__}.{row[1]}" for row in LIMITS]
)
def test_a_setting_has_its_default_and_its_limits(settings, name, default, least, most):
    assert getattr(load_settings(settings, {}), name) == default
    for limit, step in ((least, -1), (most, 1)):
        if limit is not None:
            whole = isinstance(limit, int)
            assert getattr(load_settings(settings, {name: limit} | BESIDES.get(name, {})), name) == limit
            with pytest.raises(UserError, match=name):
                load_settings(settings, {name: limit + step * (1 if whole else 1e-4)} | BESIDES.get(name, {}))


def test_every_limit_is_listed_here():
    listed = {(row[0], row[1]) for row in LIMITS}
    others = {"compressions", "methods", "label", "splits", "mode", "compression"}
    for settings in {row[0] for row in LIMITS}:
        missing = set(vars(settings())) - {name for of, name in listed if of is settings} - others
        assert not missing, settings
