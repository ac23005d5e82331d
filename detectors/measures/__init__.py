"""Numbers from scores: runs of an experiment, videos' scores from their frames', metrics. Imports no other room."""
