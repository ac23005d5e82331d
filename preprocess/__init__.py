"""From raw deepfake videos to face crops, landmarks, masks and one table of samples per data set.

Here stands what people run: the seven stages, `preview`, `export_crops` and `train_predictor`. The rooms below, each
of which knows only those under it: `datasets`, `face` and `synthetic`, then `store`, `running`, `video`.
"""
