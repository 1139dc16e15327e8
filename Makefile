# make run    start the gateway, with nothing but Python 3.11 or newer there
# make test   install what is missing, then run all tests; ARGS=... runs those alone
# make long   the tests that take long, in full: the whole soak matrix among them
# make fuzz   look for what breaks a parser: TARGET=NAME (all), SECONDS=N of each (300)
# make clients  the tests with clients of others, in Python and on Node
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

NODE := tests/clients/node

.PHONY: run test long fuzz clients check format clean

run: .venv/run.stamp
	$(BIN)/tidegate up $(ARGS)

# What looks at memory, at how much CPU something takes, or kills processes has the machine to itself.
ALONE := $(BIN)/pytest -m serial tests/crash tests/integration
# Files go to the two workers in order, so those that take longest come first, and neither is alone at the end.
BESIDE := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not serial"

test: .venv/dev.stamp
ifneq ($(strip $(ARGS)),)
	$(BIN)/pytest $(ARGS)
else
	@failed=; \
	$(BESIDE) tests/unit tests/fuzz tests/contract || failed="$$failed unit+contract"; \
	$(BESIDE) tests/property tests/integration || failed="$$failed integration+property"; \
	$(ALONE) || failed="$$failed serial"; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi
endif

long: .venv/dev.stamp
	TIDEGATE_EXTENT=1 $(BIN)/pytest --timeout 900 -m serial $(or $(ARGS),tests)
	TIDEGATE_EXTENT=1 $(BIN)/pytest --timeout 900 tests/property

SECONDS ?= 300

fuzz: .venv/fuzz.stamp
	$(BIN)/python tests/fuzz/run.py $(TARGET) --seconds $(SECONDS)

clients: .venv/clients.stamp $(NODE)/node_modules
	$(BIN)/pytest tests/clients $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv $(NODE)/node_modules .mypy_cache .ruff_cache .hypothesis build dist

# A virtual environment that is only half made would be taken for a whole one the next time.
$(BIN)/python:
	@$(PYTHON) deploy/check_python.py $(if $(UV),,venv)
	@echo "Making .venv (once)"
	@$(VENV) || { rm -rf .venv; exit 1; }

.venv/run.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Tidegate (once)"
	@$(INSTALL) --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Tidegate and what its tests need (once)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/run.stamp

.venv/fuzz.stamp: .venv/dev.stamp
	@echo "Installing what looks for faults (once)"
	@$(INSTALL) --editable '.[fuzz]'
	@touch $@

.venv/clients.stamp: .venv/dev.stamp
	@echo "Installing clients of others, and Node (once)"
	@$(INSTALL) --editable '.[dev,clients]'
	@touch $@

$(NODE)/node_modules: $(NODE)/package.json $(NODE)/package-lock.json .venv/clients.stamp
	@cd $(NODE) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --omit=dev --no-audit --no-fund
	@touch $@
