"""What stands above the programs: the config and its schema, what Snakemake runs, and how far it has come.

People run `status` and `verify`; `state` and `checks/` read for them. The Snakefile takes `config`, and
`snakemake_seam`, which begins each run with `run_guard` and `scans`. The rules lie in `rules/`, the captions of a
report in `report/`. Nothing below imports this.

May import: `detectors` with its rooms `evaluation`, `families`, `interface`; `preprocess` with its rooms `datasets`,
`settings`, `store`, `running`, `video`.
"""
