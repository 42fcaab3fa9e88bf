# Every target installs what it needs first: a virtual environment in .venv, pinned by constraints.txt.
#   make run          open the app on a demo project          make check        style, types, architecture
#   make test         run the whole test suite                make bench        measure against plain libraries
#   make demo         run the whole loop without a screen     make screenshots  draw the README's pictures

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := .demo
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := run
.PHONY: run test demo check bench screenshots install

run: $(INSTALLED)
	@test -f $(DEMO)/workbench.db || $(BIN)/workbench new $(DEMO) --demo
	@$(BIN)/workbench $(DEMO)

test: $(INSTALLED)
	$(BIN)/python -m pytest

demo: $(INSTALLED)
	$(BIN)/workbench demo

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_architecture.py

bench: $(INSTALLED)
	@for file in tests/benchmarks/[a-z]*.py; do \
		echo "== $$file"; $(BIN)/python -m tests.benchmarks.$$(basename $$file .py) || exit 1; done

screenshots: $(INSTALLED)
	@test -f .demo-loop/workbench.db || $(BIN)/workbench demo --keep .demo-loop
	$(BIN)/python -m assets.screenshots .demo-loop

install: $(INSTALLED)

# torch first and alone, so that a failed download of it costs nothing else. The stamp makes the second time quick.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@command -v cc >/dev/null && command -v c++ >/dev/null || { \
		echo "A C and a C++ compiler are needed to build llama-cpp-python, and cc or c++ is missing."; \
		echo "Debian, Ubuntu: apt install build-essential cmake. Fedora: dnf install gcc-c++ cmake. macOS: xcode-select --install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "No virtual environment could be made. Debian, Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	@touch $@
