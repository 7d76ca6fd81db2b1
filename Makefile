# make demo   installs into .venv and does the whole job on real photographs and a real clip
# make test   installs into .venv and runs what CI runs
# make docs   writes the tables of options in docs/cli.md from their declarations
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# For what is built in an isolated environment too, such as this package itself.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)

.PHONY: demo test check docs clean

demo: $(VENV)/installed-demo
	$(BIN)/p2p demo --output p2p-demo --overwrite

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal  # a worker a core, so a thread a worker

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev
	$(BIN)/python -m p2p_deploy.cli.reference docs/cli.md

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
