"""Handmade features (DCT, error levels, key points) and classifiers that read them; `ela_cnn` alone has a network."""
