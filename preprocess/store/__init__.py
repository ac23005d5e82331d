"""The files of the store: how they are named, written whole, checked and read, and what their columns are.

May import: `running`, `video`.
"""
