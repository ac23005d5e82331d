"""Numbers from scores: the runs of an experiment, videos' scores from those of their faces, metrics.

May import: of preprocess `store`, `running`, `video`.
"""
