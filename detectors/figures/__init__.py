"""Every figure of the results, and the tables that people read.

May import: `measures`, `interface`, `data`; of preprocess `store`, `running`.
"""
