"""What the stages and whoever plans them share; without imports, so that planning stays quick."""

from __future__ import annotations

# Share of a data set's videos that may be lost before its samples are not collected: what real collections lose to
# absent files, broken files and faces that nobody finds is less, a wrong `root` or a failing disc loses more.
MAX_LOST_SHARE = 0.25

# Leaves landmarks and hull masks out; only detectors that need neither can then be trained.
NO_PREDICTOR = "none"
