"""Synthetic collections: rendered talking heads in the published trees of real data sets, with known truth.

May import: `store`, `settings`, `running`.
"""

from preprocess.settings.synthetic import SyntheticSettings
from preprocess.synthetic.collection import make_collection
from preprocess.synthetic.face import FaceTruth, Pose, draw_person, render_portrait, sample_pose
from preprocess.synthetic.identity import Identity, sample_identity

__all__ = [
    "FaceTruth",
    "Identity",
    "Pose",
    "SyntheticSettings",
    "draw_person",
    "make_collection",
    "render_portrait",
    "sample_identity",
    "sample_pose",
]
