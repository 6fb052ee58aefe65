.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-tests demo test faults cluster lint format bench bench-storage audit requirements clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Arguments for the tests, e.g. make test ARGS="tests/models -x".
ARGS ?=
# The tests run in this many processes, the tests of a file in one: what they share is made once.
JOBS ?= 2
# One version of each package for every Python, so that the same data gives the same scores.
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal \
	--python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make requirements'
CODE := api dataflows migrations models tidegate

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.dev ## make .venv with the project and all it needs

setup-tests: setup ## install what the tests need beside Python: a browser, node packages
	@sh tests/setup.sh

demo: $(VENV)/.project ## run everything on this machine: database, payments, scoring, pages
	$(BIN)/tidegate demo

test: setup setup-tests ## run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

faults: setup setup-tests ## kill and stop everything under load, often; prints a table; takes half an hour
	$(BIN)/python -m tests.faults $(ARGS)

cluster: setup setup-tests ## run the chart in a Kubernetes of one node, as root; the first time takes twenty minutes
	@sh tests/cluster/setup.sh
	$(BIN)/python -m tests.faults tests/cluster $(ARGS)

lint: setup ## check formatting, style, types and the direction of imports; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## run the benchmarks
	$(BIN)/python -m bench

bench-storage: setup ## measure the database: writing, reading ten million decisions, compressing
	$(BIN)/python -m bench write trigger storage columnstore

audit: setup setup-tests $(VENV)/audit/.ready ## check dependencies, licences, secrets, image, chart and rights
	$(BIN)/python -m tests.audit

$(VENV)/audit/.ready: requirements/audit.txt $(VENV)/.dev
	$(BIN)/uv venv --quiet --clear $(VENV)/audit
	$(BIN)/uv pip install --quiet --python $(VENV)/audit/bin/python --require-hashes \
		--requirement requirements/audit.txt
	@touch $@

requirements: setup ## pin the newest allowed versions again, with hashes
	$(COMPILE) --extra embedded --group build --output-file requirements/base.txt
	$(COMPILE) --extra dev --group build --constraints requirements/base.txt --output-file requirements/dev.txt
	$(subst pyproject.toml,,$(COMPILE)) --group audit --output-file requirements/audit.txt

clean: ## remove .venv, caches and built files; .tidegate, the demo's data, stays
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/kafka/target tests/timescale/node_modules tests/helm/bin tests/cluster/bin
	rm -rf --one-file-system tests/timescale/trixie tests/timescale/trixie.part # /proc may be mounted there
	find $(CODE) tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamps: each step is done again only when what it depends on has changed.

$(VENV)/.created:
	@for python in $(PYTHON) python3.12 python3.11 python3 python; do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then \
			echo "using $$($$python --version) as $$python"; \
			$$python -m venv --clear $(VENV) && touch $@ && exit 0; \
			exit 1; \
		fi; \
	done; \
	echo 'error: Python 3.11 or 3.12 with its venv module is needed (on Debian: apt-get install python3-venv); name it with make PYTHON=/path/to/python' >&2; \
	exit 1

$(VENV)/.base: requirements/base.txt $(VENV)/.created
	$(PIP) install --quiet --require-hashes -r requirements/base.txt
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.base
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.project
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) check
	@touch $@
