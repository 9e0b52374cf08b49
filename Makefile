# Walnut on a fresh machine: needs Python 3.11 or later, make, and nothing else of ours.
# `make` alone lists the targets.

SEEDS ?= 2000
# A life of jobs takes as long as two of a store.
JOBS_SEEDS = $(shell expr $(SEEDS) / 2)
PYTHON ?=

# Debian packages that tests need. As root they are installed; otherwise the tests that miss them
# are listed at the end as not run.
TEST_PACKAGES := chromium

BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --only-binary :all:
REPORT := .build/pytest.xml

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: run log test bench lint sim soak clean help packages

run: .venv/.ready ## start Walnut with a demo data set, in .build/run, and say what to try (ONCE=1: and end)
	@$(BIN)/python -m walnut.server.demo.newcomer $(if $(ONCE),--once)

log: .venv/.ready ## append a real file to a log, verify it, show it (FILE=path; else a log of this machine)
	@$(BIN)/python -m walnut.log.demo $(if $(FILE),"$(FILE)")

test: lint packages ## linters, types, all tests, the simulators; then what could not be run
	$(BIN)/python -m pytest --junitxml=$(REPORT)
	$(BIN)/walnut-sim --seeds $(SEEDS)
	$(BIN)/walnut-sim --store --seeds $(SEEDS)
	$(BIN)/walnut-sim --jobs --seeds $(JOBS_SEEDS)
	$(BIN)/walnut-sim --topics --seeds $(JOBS_SEEDS)
	@$(BIN)/python tools/closing_report.py $(REPORT)

bench: .venv/.ready-bench ## measure against other stores and the bare disk (ARGS=... for bench's own options)
	@$(BIN)/python -m bench $(ARGS)

lint: .venv/.ready-dev ## ruff, formatting, import layers, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --cache-dir .build/imports
	$(BIN)/mypy

sim: .venv/.ready-dev ## the simulators alone, of the log, the store, jobs and topics (SEEDS=2000, or SEED=17 to replay one)
	$(BIN)/walnut-sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))
	$(BIN)/walnut-sim --store $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))
	$(BIN)/walnut-sim --jobs $(if $(SEED),--seed $(SEED),--seeds $(JOBS_SEEDS))
	$(BIN)/walnut-sim --topics $(if $(SEED),--seed $(SEED),--seeds $(JOBS_SEEDS))

soak: SEEDS = 20000
soak: .venv/.ready-dev ## the simulators for some ten minutes (SEEDS=20000)
	$(BIN)/walnut-sim --seeds $(SEEDS)
	$(BIN)/walnut-sim --store --seeds $(SEEDS)
	$(BIN)/walnut-sim --jobs --seeds $(JOBS_SEEDS)
	$(BIN)/walnut-sim --topics --seeds $(JOBS_SEEDS)

clean: ## remove the environment and everything built
	rm -rf .venv .build .hypothesis build dist
	find src tests bench tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment: .venv/.ready for users, .venv/.ready-dev and .venv/.ready-bench on top of it.
# Remade whenever pyproject.toml asks for something else.

.venv/.ready: pyproject.toml tools/venv.sh
	@PYTHON="$(PYTHON)" tools/venv.sh
	$(PIP) --editable '.[server]'
	@touch $@

.venv/.ready-dev .venv/.ready-bench: .venv/.ready-%: .venv/.ready
	$(PIP) --editable '.[$*]'
	@touch $@

packages:
	@tools/debian.sh $(TEST_PACKAGES) || true
