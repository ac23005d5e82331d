"""What the detectors that are networks are made of, and how they learn.

May import: `figures`, `measures`, `interface`, `data`; of preprocess `store`, `running`.
"""
