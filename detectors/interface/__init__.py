"""What every detector is to training, prediction and evaluation, its settings, and scoring with it.

Imports `data`.
"""
