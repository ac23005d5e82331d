# The commands of README.md. Everything is installed into .venv inside this folder.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= 12
RESULT := results/ucf_multi/eval.csv
SEED ?= 12
SAMPLE ?= 160
# processes that share the files of tests; each takes up to 3 GB of memory
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --durations 10
SHARED := --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help env run test test-slow test-training mutants test-cluster lint schema clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed, $$($(PYTHON) --version) is found; try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

env: .venv/installed ## install everything into .venv

run: env ## run the demonstration: raw videos to eval.csv
	$(BIN)/snakemake --cores $(CORES) $(RESULT)
	@echo "result: $(RESULT), figures: $(dir $(RESULT))figures"

test: env ## lint and run the tests
	$(MAKE) --no-print-directory lint
	$(PYTEST) $(SHARED) -m "not slow and not training"

test-slow: env ## run the tests that take minutes
	$(PYTEST) $(SHARED) -m slow

test-training: env ## train every detector, and every experiment of the studies cut down (an hour; not in CI)
	$(PYTEST) -m training

mutants: env ## change one operator at a time and see which changes the quick tests find (an hour; SEED=12 SAMPLE=160)
	$(BIN)/python benchmarks/mutants.py --seed $(SEED) --sample $(SAMPLE)

test-cluster: env ## run the main job on a Slurm that this starts (root, Debian), and through a submit command
	timeout --signal INT --kill-after 60 1500 $(BIN)/python -m pytest --timeout 1400 tests/cluster; \
	  status=$$?; tests/cluster/stop_slurm.sh; exit $$status

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --quiet

schema: env ## write the config's schema and docs/settings.md from the models
	$(BIN)/python -m workflow.schemas.write_schema

clean: ## remove the store, the results and the logs of ALL data sets; raw collections and .venv stay
	rm -rf data/index data/frames data/faces data/crops data/landmarks data/masks data/samples data/.made.jsonl results logs
