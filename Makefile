# make verbs are the same for people and for CI. Everything that is needed is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TIME ?= 10m
QUIET := --quiet --disable-pip-version-check --root-user-action ignore
SOURCES := fuzzer policies strategies tests

.DEFAULT_GOAL := help
.PHONY: help demo test slow check lint types unit fuzz mutants bench peers targets format clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tenantfuzz needs Python 3.11 or later; say which with: make PYTHON=python3.12" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install $(QUIET) --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## find a leak in a real application, explain it, save it
	@$(BIN)/python tests/demo.py

test: $(STAMP) ## all tests but the slow ones
	@$(BIN)/python -m pytest -q -n 2 -m 'not slow'

slow: $(STAMP) ## the slow tests alone
	@$(BIN)/python -m pytest -q -n 2 -m slow

check: lint types unit ## formatting, lint, types, import directions, unit tests

lint: $(STAMP)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)

# mypy does not see through the folder mapping of an editable install: it gets a copy. What an
# earlier build left behind would be copied along, files that are gone by now included.
types: $(STAMP)
	@rm -rf build/typecheck build/lib build/bdist.*
	@$(BIN)/python -m pip install $(QUIET) --no-deps --no-build-isolation --target build/typecheck .
	@cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p tenantfuzz
	@MYPYPATH=build/typecheck:tests/mutants $(BIN)/mypy --config-file pyproject.toml --explicit-package-bases tests

unit: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 tests/unit

fuzz: $(STAMP) ## both correct targets for TIME each (10m): must find nothing
	$(BIN)/tenantfuzz run corpus/targets/pinball --time $(TIME)
	$(BIN)/tenantfuzz run corpus/targets/saas-guc --time $(TIME)

mutants: $(STAMP) ## the kill table: every planted leak, and how fast it is found
	@$(BIN)/python tests/mutants/kill_table.py

bench: $(STAMP) ## how fast, against the bare replay of the same statements
	@$(BIN)/python tests/bench/bench.py

peers: $(STAMP) ## the same planted leaks before another tool
	@$(BIN)/python tests/bench/peers.py

targets: ## make the migrations of the pinball target anew (needs Node)
	cd corpus/targets/pinball && npm ci && npm run generate

format: $(STAMP) ## format and mend what can be mended
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

clean: ## remove what was made here
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo *.egg-info
