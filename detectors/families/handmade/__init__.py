"""Detectors without a network."""
