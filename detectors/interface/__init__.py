"""What every detector is to training, prediction and evaluation: its interface, its settings, and scoring with it.

May import: `data`; of preprocess `face`, `store`, `running`.
"""
