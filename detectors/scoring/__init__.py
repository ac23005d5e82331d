"""What `score` and `retrieve` stand on: faces and vectors of anyone's own files, and what is shown of their scores.

May import: `families`, `networks`, `figures`, `measures`, `interface`, `data`; `preprocess` with its rooms
`datasets`, `store`, `running`, `video`.
"""
