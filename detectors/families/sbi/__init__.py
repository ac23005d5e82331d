"""Self-blended images (SBI)."""
