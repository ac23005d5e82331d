"""How a program of this project runs: its command line, settings, workers and device, and what the system refuses.

May import: `video`.
"""
