"""Deepfake detectors: training, prediction and evaluation over the store that `preprocess` builds.

At the top stands what people run; the rest lies in rooms, each of which knows only those under it.

May import: `scoring`, `evaluation`, `families`, `figures`, `measures`, `interface`, `data`; `preprocess` with its
rooms `store`, `running`.
"""
