"""From raw deepfake videos to face crops, landmarks, masks and one table of samples per data set.

At the top stands what people run: the seven stages, `preview`, `export_crops` and `train_predictor`; the rest lies in
rooms, each of which knows only those under it.

May import: `datasets`, `synthetic`, `settings`, `face`, `store`, `running`, `video`.
"""
