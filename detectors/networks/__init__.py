"""What the detectors that are networks are made of and how they learn."""
