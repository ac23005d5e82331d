"""What `workflow.verify` looks at: each file by itself, then against the files that it was made from.

`report` collects what is found, `files` checks one file, `rows` says what must hold between two, `dataset` and
`experiment` go through all of them.
"""
