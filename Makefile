# One target per habit. `make demo` and `make test` need Python 3.11 or newer and the package index, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test slow corpora check format bench docs clean
.DEFAULT_GOAL := help

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

# pip is told the versions, so that every machine gets the same ones. torch goes first and alone, so
# that every other package finds the build that the index gave.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "polyhead needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)  ## Train on the sample corpus and annotate a sentence
	$(BIN)/polyhead demo

test: $(READY)  ## Run the tests that need nothing outside the checkout
	$(BIN)/python -m pytest -n logical --dist loadfile -m "not corpora and not slow"

slow: $(READY)  ## Run the tests that take minutes: a run that is killed at every single event
	$(BIN)/python -m pytest -m slow

corpora: $(READY)  ## Run the tests on real corpora, in the folder that POLYHEAD_DATA names
	$(BIN)/python -m pytest -m corpora

check: $(READY)  ## Lint, check formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Measure quality and speed on the real corpora in POLYHEAD_DATA (takes about half an hour)
	$(BIN)/python benchmarks/train.py

docs: $(READY)  ## Write the generated pages anew
	$(BIN)/python docs/make_recipe_page.py

clean:  ## Remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
