"""Self-blended images (SBI): the detector, what is drawn for a blend, the blending, and a preview of blends."""
