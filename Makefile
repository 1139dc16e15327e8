# make run    start the gateway, with nothing but Python 3.11 or newer there
# make test   install what is missing, then run all tests
# make check  lint, types, floors

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

# Without bytecode files every import compiles its sources again, which triples the time to start.
unexport PYTHONDONTWRITEBYTECODE

# uv when it is there, else the venv and pip that every Python brings.
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
  VENV := uv venv --quiet --python $(PYTHON) .venv
  INSTALL := uv pip install --quiet --python $(BIN)/python
else
  VENV := $(PYTHON) -m venv .venv
  INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: run test check format clean

run: .venv/run.stamp
	$(BIN)/tidegate up $(ARGS)

test: .venv/dev.stamp
	$(BIN)/pytest $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build dist

$(BIN)/python:
	@echo "Making .venv (once)"
	@$(VENV)

.venv/run.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Tidegate (once)"
	@$(INSTALL) --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Tidegate and what its tests need (once)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/run.stamp
