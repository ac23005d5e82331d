"""One integer per stage. Raise it when a change in the code changes that stage's results.

The workflow passes it to every rule as a parameter, so a raised version reruns that stage and
everything below it, while other edits in the code rerun nothing. tests/preprocess/test_versions.py holds the results
of the stages from index to samples to their numbers.
"""

SYNTHETIC = 2
INDEX = 3
FRAMES = 1
FACES = 3
CROPS = 2
LANDMARKS = 1
MASKS = 2
SAMPLES = 2
PREDICTOR = 2
TRAIN = 3
PREDICT = 2
EVALUATE = 2
LEAKAGE = 1
STUDIES = 1
ROBUSTNESS = 1
PERTURBATIONS = 1
EXPLAIN = 1
RETRIEVAL = 1
