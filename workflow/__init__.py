"""What stands above the programs: the config and its schema, the guard of a run, `status` and `verify`.

The rules lie in `rules/`, the captions of a report in `report/`. Nothing imports this but the Snakefile.

May import: `detectors` with its rooms `evaluation`, `families`, `interface`; `preprocess` with its rooms `datasets`,
`synthetic`, `store`, `running`, `video`.
"""
