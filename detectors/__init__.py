"""Deepfake detectors: training, prediction and evaluation over the store that `preprocess` builds.

Here stands what people run. The rooms below, each of which knows only those under it: `scoring`, `evaluation`,
`families`, `networks`, `figures`, `measures`, `interface`, `data`.
"""
