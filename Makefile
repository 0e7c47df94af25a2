# One word each: demo, test, check, bench, docs. The first use makes .venv and installs what that word needs.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: setup demo test check bench docs clean

setup: .venv/dev  ## all that tests and checks need

demo: .venv/med  ## train, evaluate and report on synthetic scans
	$(BIN)/medapps demo

test: .venv/dev  ## every test, doctests included
	$(BIN)/python -m pytest

check: .venv/dev  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench  ## ours beside PyTorch's, in one run
	$(BIN)/python -m benchmarks

docs: .venv/docs  ## the pages, into site/
	$(BIN)/python -m docs.reference.generate
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site build *.egg-info

.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "minidl needs Python 3.11 or newer; try make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	@touch $@

# A file in .venv marks what is installed, and is made anew when pyproject.toml changes.
.venv/med: pyproject.toml | .venv/pip
	$(INSTALL) --editable ".[med]"
	@touch $@

.venv/dev: pyproject.toml | .venv/pip
	$(INSTALL) --editable ".[med,dev]"
	@touch $@

.venv/bench: pyproject.toml | .venv/pip
	$(INSTALL) --editable ".[med,bench]"
	@touch $@

.venv/docs: pyproject.toml | .venv/pip
	$(INSTALL) --editable ".[med,docs]"
	@touch $@
