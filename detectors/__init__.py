"""Deepfake detectors: training, prediction and evaluation over the store that `preprocess` builds."""
