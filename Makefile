# make demo        installs into .venv and does the whole job on real photographs and a real clip
# make test        installs into .venv and runs what CI runs
# make torch-cpu   run first, it puts PyTorch's small CPU build into .venv instead of the CUDA build
# make docs        rewrites the tables of options in docs/cli.md from their declarations
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The second is for packages that are built in an isolated environment, such as this one.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)

.PHONY: demo test torch-cpu check docs clean

demo: $(VENV)/installed-demo
	$(BIN)/p2p demo --output p2p-demo --overwrite

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal  # a worker a core, so a thread a worker

torch-cpu: $(BIN)/python
	$(BIN)/python -m pip install -q --no-deps --index-url https://download.pytorch.org/whl/cpu torch

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	$(BIN)/python docs/option_tables.py docs/cli.md

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("p2p-deploy needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[cpu,export,trt-rtx,train,demo]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-demo
	$(BIN)/python -m pip install -q -e '.[cpu,export,trt-rtx,train,demo,dev]'
	@touch $@

clean:
	rm -rf $(VENV) p2p-demo build dist .pytest_cache .mypy_cache .ruff_cache
