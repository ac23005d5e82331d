"""What `detectors.score` shows and writes."""
