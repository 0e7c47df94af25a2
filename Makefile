# One word each: demo, test, test-long, check, bench, docs; gpu-test and gpu-bench on a machine with an NVIDIA GPU. The first use makes .venv and installs what that word needs.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check

CUDA ?= 13

.PHONY: setup demo test test-long check bench docs gpu gpu-test gpu-bench clean

setup: .venv/dev  ## all that tests and checks need

demo: .venv/med  ## three models of synthetic scans: train, judge, report; about 2 minutes
	$(BIN)/medapps demo

test: .venv/dev  ## every test, doctests included, on up to four cores; about 5 minutes on two
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-long: .venv/dev  ## what takes minutes: 10,000 kills, 200 resumes
	$(BIN)/python -m pytest -m long

check: .venv/dev  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench  ## ours beside PyTorch's, in one run
	$(BIN)/python -m benchmarks

gpu-test: gpu .venv/cuda$(CUDA)  ## the GPU's tests on the GPU; CUDA=12 for an older driver
	MINIDL_REQUIRE_GPU=1 $(BIN)/python -m pytest tests/minidl/gpu tests/medapps/test_device.py

gpu-bench: gpu .venv/cuda$(CUDA)  ## bandwidth, ops and training steps on the GPU, into docs/benchmarks/gpu.json
	$(BIN)/python -m benchmarks.gpu

gpu:
	@nvidia-smi --list-gpus 2>/dev/null | grep -q . || { echo "no GPU: nvidia-smi lists none on this machine" >&2; exit 2; }

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

# CuPy for two versions of CUDA cannot live side by side.
.venv/cuda12 .venv/cuda13: pyproject.toml | .venv/pip
	@rm -f .venv/cuda12 .venv/cuda13
	$(BIN)/python -m pip uninstall -qq --yes cupy-cuda12x cupy-cuda13x
	$(INSTALL) --editable ".[med,dev,$(notdir $@)]"
	@touch $@

.venv/docs: pyproject.toml | .venv/pip
	$(INSTALL) --editable ".[med,docs]"
	@touch $@
