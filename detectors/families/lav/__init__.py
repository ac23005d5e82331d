"""Locating and verifying (LAV): the detector, its backbone in stages, noise residuals, and guessed patch labels."""
