"""From raw deepfake videos to face crops, landmarks, masks and one table of samples per data set."""
