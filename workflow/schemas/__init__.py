"""The schema of `config.yaml`, and what writes it."""
