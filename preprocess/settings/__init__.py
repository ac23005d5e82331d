"""The settings of the stages of the store, light enough for planning: the stages themselves import PyTorch or OpenCV.

May import: `face`, `running`.
"""
