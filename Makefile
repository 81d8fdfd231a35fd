# Every target works on a fresh clone with Python 3.11+, git and make. Environment: .venv, made here when missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo test check bench test-clients test-resume conformance lock clean

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
ARGS ?=
COVERAGE ?=
# Every gateway that a test starts would compile what it imports again: 0.9 s of CPU for each.
unexport PYTHONDONTWRITEBYTECODE
# The folders whose every branch has a test, or `make test COVERAGE=` fails; a run may miss what only a race reaches.
WHOLE := model policy pipeline store
COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
# Half of what a test takes is waiting, so twice as many as there are CPUs; in ranges, so that a file stays with its gateway.
SPREAD := -n 4 --dist worksteal
# A test that ran out of time on a busy machine is run once more and listed, and one that another's open socket was
# found in; a wrong answer never is.
ONCE_MORE := --reruns 1 --only-rerun ^TimeoutError --only-rerun TimeoutExpired --only-rerun ReadTimeout \
	--only-rerun unraisable -rR

help:
	@echo 'make demo          run the payments example over HTTP and stdio'
	@echo 'make test          run the tests            (ARGS="-k name" narrows, COVERAGE=95 adds the branch-coverage gates)'
	@echo 'make check         lint, types, import layers, shape limits, documentation that is true'
	@echo 'make bench         what the gateway costs per call, beside a bare forwarder (ARGS=--instructions counts with valgrind, --beside is the rest)'
	@echo 'make test-clients  real agent SDKs through the gateway, each in its own environment (ARGS=fastmcp chooses)'
	@echo 'make test-resume   agents of two frameworks killed in a 50-step job, with or without the gateway (ARGS=--every, --few)'
	@echo 'make conformance   the official MCP suite with and without the gateway (ARGS="--only modern" narrows)'
	@echo 'make lock          bring requirements.lock up to date with pyproject.toml (needs uv)'
	@echo 'make clean         remove the environment and every cache'

demo: $(STAMP)
	@$(PYTHON) -m examples.payments.demo $(ARGS)
	@echo 'make demo: ok'

test: $(STAMP)
	@$(PYTHON) -m pytest $(SPREAD) $(ONCE_MORE) $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)) $(ARGS)
	@$(if $(COVERAGE),echo 'every branch of $(WHOLE)'; $(PYTHON) -m coverage report --skip-covered --precision=2 --fail-under=99.9 \
		--include='$(subst $(SPACE),$(COMMA),$(WHOLE:%=gateway/%/*))')
	@echo 'make test: ok'

check: $(STAMP)
	@echo 'ruff check';    $(PYTHON) -m ruff check .
	@echo 'ruff format';   $(PYTHON) -m ruff format --check .
	@echo 'mypy';          $(PYTHON) -m mypy
	@echo 'import layers'; PYTHONPATH=. $(VENV)/bin/lint-imports
	@echo 'shape';         $(PYTHON) -m pytest -q tests/shape
	@echo 'make check: ok'

bench: $(STAMP)
	@$(PYTHON) -m tests.overhead.bench $(ARGS)
	@echo 'make bench: ok'

test-clients: $(STAMP)
	@$(PYTHON) -m tests.clients.run $(ARGS)
	@echo 'make test-clients: ok'

test-resume: $(STAMP)
	@$(PYTHON) -m tests.clients.resuming $(ARGS)
	@echo 'make test-resume: ok'

conformance: $(STAMP)
	@$(PYTHON) -m tests.conformance.run $(ARGS)
	@echo 'make conformance: ok'

lock:
	@uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --group dev --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --output-file requirements.lock
	@echo 'make lock: ok'

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov dist build
	@rm -f .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'make clean: ok'

# The newest interpreter on PATH that is new enough; a version manager's shim may exist and still not run.
FIND_PYTHON := for name in python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && command -v "$$name" && break; done

$(STAMP): requirements.lock pyproject.toml
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		python="$$($(FIND_PYTHON) || true)"; \
		if [ -z "$$python" ]; then echo 'error: Python 3.11 or newer is needed and none is on PATH (https://www.python.org/downloads/)' >&2; exit 1; fi; \
		echo "Creating $(VENV) with $$("$$python" --version)"; rm -rf $(VENV); \
		if command -v uv >/dev/null; then uv venv --quiet --python "$$python" $(VENV); \
		else "$$python" -m venv $(VENV) || { rm -rf $(VENV); echo 'error: venv failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }; fi; \
	fi
	@echo 'Installing the locked dependencies'
	@if command -v uv >/dev/null; then \
		uv pip install --compile-bytecode --python $(PYTHON) -r requirements.lock && uv pip install --quiet --python $(PYTHON) --no-deps -e .; \
	else \
		$(PYTHON) -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock && \
		$(PYTHON) -m pip install --disable-pip-version-check --quiet --no-deps -e .; \
	fi
	@touch $(STAMP)
