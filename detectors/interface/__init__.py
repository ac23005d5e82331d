"""The interface of a detector, its settings, and scoring with it.

May import: `data`; of preprocess `settings`, `store`, `running`.
"""
