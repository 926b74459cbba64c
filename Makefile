# make help lists what can be made.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= auto
SELDOM := /(ray|botocore|networkx|nltk|pip)/|/transformers/models/|/torch/testing/|/tests/
EXTRAS := offline,joblib,slurm,ray,optuna,dev

TABLES := $(addprefix reproduce-,table1 table2 table3 table4 figure1 figure2 figure4 controls)
ARGS ?=
MEASURED := $(addprefix results/,$(addsuffix .yaml,table1 table3 table4 controls budgets))
DATA ?= data/glue
MINUTES ?= 20
DEMO := task=demo_stsb task.limit=400 protocol.epochs=2 protocol.learning_rate=2e-3
# $(call share,N): N of every 20 minutes
share = $$(awk 'BEGIN { print $(MINUTES) * $(1) / 20 }')

.DEFAULT_GOAL := help
.PHONY: help install demo docs pictures $(TABLES) results results-runs bench lint test test-fast test-lowest coverage check format clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo "  $(TABLES):"
	@echo "             run what a table or figure still lacks, with ARGS='backbone=minilm seeds=2'"

install: $(INSTALLED) ## create the virtual environment and install into it

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@# On all cores, which pip does not, and without what is seldom imported. Some packages have
	@# files that are not for this version of Python.
	$(BIN)/python -m compileall -qq -j 0 -x '$(SELDOM)' $(VENV)/lib || true
	touch $@

demo: $(INSTALLED) ## from nothing to a pruned, trained, evaluated and tabulated run, in half a minute once installed
	$(BIN)/sparsead train $(DEMO)
	$(BIN)/sparsead table

docs: $(INSTALLED) ## build the site of the documentation into build/site
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

pictures: $(INSTALLED) ## draw the pictures of README and docs anew
	$(BIN)/python scripts/make_pictures.py

$(TABLES): reproduce-%: $(INSTALLED)
	$(BIN)/sparsead reproduce $* $(ARGS)

results: $(INSTALLED) ## write RESULTS.md and its pictures anew from the records in results/
	$(BIN)/python scripts/make_results.py

results-runs: $(INSTALLED) ## train what Tables 1, 3 and 4, the controls and the budgets lack, with GLUE in DATA=FOLDER
	if test -f results/minilm.parquet; then $(BIN)/sparsead runs unpack results/minilm.parquet; fi
	for table in $(MEASURED); do \
	  $(BIN)/sparsead reproduce $$table task.path=$(DATA) $(ARGS) || exit 1; done
	$(BIN)/sparsead runs pack results/minilm.parquet

test: $(INSTALLED) ## from nothing to a passing test suite
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

test-fast: $(INSTALLED) ## the tests that are not marked slow, in about a minute
	$(BIN)/pytest -n $(WORKERS) -m "not slow" --durations=10 --durations-min=1

test-lowest: ## test-fast with the oldest versions that are allowed, in an environment of its own
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet --constraint constraints-lowest.txt --editable '.[$(EXTRAS)]'
	$(VENV)-lowest/bin/pytest -n $(WORKERS) -m "not slow"

coverage: $(INSTALLED) ## all of test, and how much of the package it covers; fails below the floor
	$(BIN)/pytest -n $(WORKERS) --cov

bench: $(INSTALLED) ## time training, pruning, sweeps and the command line in MINUTES=20 at most, with GLUE=FOLDER on real text
	@echo "This takes $(MINUTES) minutes at most (MINUTES=… changes that): half for training steps,"
	@echo "the rest for pruning, a sweep and commands. What is not reached in time is left out."
	$(BIN)/python scripts/bench_train.py --steps 4 --peaks Houlsby --minutes $(call share,10) $(GLUE:%=--task-path %)
	$(BIN)/python scripts/bench_pruning.py --minutes $(call share,4) $(GLUE:%=--task-path %)
	$(BIN)/python scripts/bench_sweep.py --minutes $(call share,4) $(GLUE:%=--task-path %)
	$(BIN)/python scripts/bench_cli.py --minutes $(call share,2)

lint: $(INSTALLED) ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## all of lint and test

format: $(INSTALLED) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and caches, never outputs/
	rm -rf $(VENV) $(VENV)-lowest build .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* *.egg-info
