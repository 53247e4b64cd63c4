# One environment, .venv, made from the three packages' own metadata. `make serve` and `make test` need nothing
# but Python 3.11 or newer, git and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --quiet --disable-pip-version-check
PACKAGES := pyproject.toml server/pyproject.toml clients/python/pyproject.toml
SOURCES := vssm server/vssm_server clients/python tests benchmarks

.PHONY: help serve test check format bench prefix clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

serve: .venv/.runtime ## the server on 127.0.0.1:8000 (VSSM_PORT=9000 make serve for another port)
	@exec $(BIN)/vssm-server serve

test: .venv/.dev ## all tests
	$(BIN)/python -m pytest

check: .venv/.dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev ## put the source into the format that `check` wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev ## the benchmarks, into benchmarks/results
	$(BIN)/python benchmarks/recurrence.py
	$(BIN)/python benchmarks/generation.py

clean: ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "This Python has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install --upgrade pip

.venv/.runtime: .venv/bin/python $(PACKAGES)
	@echo "Installing into .venv (once; PyTorch is the large part) ..."
	@$(PIP) install -e . -e 'server[worker]' -e clients/python
	@touch $@

.venv/.dev: .venv/.runtime
	@$(PIP) install -e '.[dev]'
	@touch $@
