# Every target is the lines that README.md also shows raw. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup: .venv/.stamp ## build .venv with the pinned dependencies

# uv installs ten times faster than pip; where it cannot be had, pip installs the same hashes.
.venv/.stamp: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer with venv is needed (Debian: apt install python3-venv).' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	if $(BIN)/pip install --quiet uv && \
	   $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock; \
	then :; else $(BIN)/pip install --require-hashes -r requirements.lock; fi
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

run: setup ## quantize the built-in model: digits, a small convolutional network
	$(BIN)/ptq-quantize

# Without bytecode every worker and every command that a test starts compiles all modules anew; threads of BLAS, which
# spin while they wait, would take the time of the other worker.
test: export PYTHONDONTWRITEBYTECODE =
test: export OPENBLAS_NUM_THREADS = 1
test: setup ## the linters, the type checker and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

ui: setup ## open the pages of MLflow and Prefect on the state of this folder; Ctrl-C ends both
	$(BIN)/ptq-ui

bench: setup ## calibration beside plain inference and NNCF: writes tests/benchmarks/README.md (some 12 minutes)
	$(BIN)/pip install --quiet -e '.[bench]'
	$(BIN)/python -m tests.benchmarks

zoo: setup ## networks that nobody tuned on, beside NNCF: writes tests/zoo/README.md (two hours)
	$(BIN)/pip install --quiet -e '.[zoo]'
	for package in $$(grep -v '^#' tests/zoo/packages.txt); do \
	  $(BIN)/pip install --quiet --no-deps $$package || echo "$$package cannot be had"; done
	$(BIN)/python -m tests.zoo

lock: setup ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev -o requirements.lock pyproject.toml

clean: ## remove .venv and every state the runs left (.ptq, outputs)
	rm -rf .venv .ptq outputs

.PHONY: help setup run ui test bench zoo lock clean
