"""Locating and verifying (LAV)."""
