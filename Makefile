# make run    set up, and start the platform on the sample app (ARGS="--port 8080" passes options)
# make test   set up, lint, and pass all tests (PYTEST="-m core" passes options)
#
# A fresh clone needs Python 3.11 or newer, make and git. Everything else goes into .venv, in the
# versions of requirements.lock, again whenever that file or pyproject.toml changes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test lint format bench compiled clean

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST ?=
INPUTS := pyproject.toml requirements.lock

# The address of the package index is nobody's business in a log: keep it out of failures, too.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c requirements.lock
DEV = $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")'

define install
	@echo "taak: installing into $(VENV) ($(1)) ..."
	@{ $(2); } >$(VENV)/install.log 2>&1 || { \
		sed -E 's#[a-z]+://[^ ]+#(address)#g' $(VENV)/install.log | tail -n 20; \
		echo "taak: the installation failed; the whole log is in $(VENV)/install.log"; exit 1; }
	@touch $@
endef

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 2
	@echo "make lint, make format, make bench, make clean"

run: $(VENV)/run.stamp compiled
	@exec $(BIN)/taak run functions --home .taak $(ARGS)

# Byte code is kept whatever the environment says: tests are slow to read without.
test: lint compiled
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/test.stamp
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/run.stamp compiled
	@$(BIN)/python benchmarks/bench.py $(ARGS)

# Machine code for the hot path, where it can be made; without, all works as well, but slower.
compiled: $(VENV)/run.stamp
	@! $(BIN)/python compile.py --needed || $(PIP) mypy setuptools >$(VENV)/install.log 2>&1 || :
	@$(BIN)/python compile.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "taak: .taak, the home of make run, is kept"

$(VENV)/run.stamp: $(VENV)/bin/python $(INPUTS)
	$(call install,taak,$(PIP) -e .)

$(VENV)/test.stamp: $(VENV)/run.stamp $(INPUTS)
	$(call install,tools for tests,$(DEV) >$(VENV)/dev.txt && $(PIP) -r $(VENV)/dev.txt)

# A candidate has to run, not only to be found: a version manager's shims are there for all.
$(VENV)/bin/python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip' 2>/dev/null || { \
			echo "taak: $$python cannot make virtual environments;"; \
			echo "      on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }; \
		exec "$$python" -m venv --clear $(VENV); \
	done; \
	echo "taak: needs Python 3.11 or newer, found $$(python3 -V 2>/dev/null || echo none);"; \
	echo "      install one, or name it: make PYTHON=/path/to/python3.12 ..."; exit 1
