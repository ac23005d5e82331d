"""What stands above the programs: the config and its schema, the guard of a run, `status` and `verify`.

Imports both packages; nothing imports it but the Snakefile. The rules lie in `rules/`, captions in `report/`.
"""
