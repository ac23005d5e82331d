"""From predictions to results: the table of an experiment, what it rests on, and how experiments are compared.

May import: `families`, `figures`, `measures`, `interface`, `data`; of preprocess `datasets`, `store`, `running`,
`video`.
"""
