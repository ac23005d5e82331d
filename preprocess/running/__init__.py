"""How a program of this project runs: its command line, settings, workers and device, what the system refuses, and
whether raw files are still those that were indexed.

May import: `video`.
"""
