"""How a program of this project runs: its command line, settings, workers, device, and what the system refuses.

Imports `video` alone, whose errors its workers carry.
"""
