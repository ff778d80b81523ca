# CI calls these targets and nothing else. GNU make 3.81 (macOS) is enough.
.DEFAULT_GOAL := help
.PHONY: help run test check fmt crash soak fuzz e2e conformance profiles clients bench tools clean

# The first Python that is new enough; PYTHON=/path/to/python3 overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
BIN := .venv/bin
# More arguments for the program behind a target: make run ARGS="--port 5001", make test ARGS="-k tags"
ARGS ?=
FUZZ_SECONDS ?= 3600

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: .venv/.runtime ## Serve on 127.0.0.1:5000 (ARGS="--port 5001" and so on)
	@exec $(BIN)/registry serve $(ARGS)

test: .venv/.dev ## Run every test; a missing client skips its tests by name (ARGS="-k tags" and so on)
	$(BIN)/python -m pytest $(ARGS)

check: .venv/.dev ## Lint, format, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

fmt: .venv/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crash: .venv/.dev ## Kill, damage, slow and starve the server: the part of `make test` that takes minutes
	$(BIN)/python -m pytest -m "crash or fault" $(ARGS)

soak: .venv/.dev ## The same for more than an hour; prints its figures (ARGS="-k test_races" and so on)
	CRASH_TIER=soak $(BIN)/python -m pytest -q -m "crash or fault" $(ARGS)

fuzz: .venv/.dev ## Fuzz for an hour; prints its figures (FUZZ_SECONDS=600, ARGS="-k test_wire" and so on)
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -q tests/fuzz $(ARGS)

e2e: .venv/.dev ## Run the stories of the real clients only
	$(BIN)/python -m pytest tests/e2e $(ARGS)

conformance: .venv/.dev ## Run the official OCI conformance suite; fails unless everything passes
	$(BIN)/python -m tests.conformance $(ARGS)

profiles: .venv/.dev ## Run the suite against every profile of registry serve --profile (ARGS="ghcr quay")
	$(BIN)/python -m tests.profile_conformance $(ARGS)

clients: .venv/.dev ## Drive seven clients through profiles and faults; writes the table in docs/clients.md (ARGS="crane oras")
	$(BIN)/python -m tests.client_kit $(ARGS)

bench: .venv/.dev ## Measure beside the other registries that are installed (ARGS="--size-mib 32 --rounds 1")
	$(BIN)/python -m bench $(ARGS)

tools: ## Install the clients that CI needs and the peers of make bench (Debian or Ubuntu, as root)
	bash tests/tools.sh
	bash tests/tools.sh bench

clean: ## Remove the virtual environment, caches and results
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist results
	find bench examples oci_registry_testing registry storage tests -name __pycache__ -type d -exec rm -rf {} +

# Debian's python3 comes without ensurepip, which is in python3-venv.
$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python3 ..." >&2; exit 1; fi
	@if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
		package=python3-venv; \
		case "$(notdir $(PYTHON))" in python3.*) package="$(notdir $(PYTHON))-venv";; esac; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package"; apt-get update -q && apt-get install -qy --no-install-recommends $$package; \
		else \
			echo "$(PYTHON) cannot make virtual environments. Type this, then try again:" >&2; \
			echo "    sudo apt-get install $$package" >&2; exit 1; fi; fi
	"$(PYTHON)" -m venv --clear .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch .venv/.runtime $@
