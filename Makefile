# Needs python3 (3.11 to 3.13), make and git; everything else goes into .venv on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

# One thread a BLAS call, else libraries hide what this project's own parallelism does.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help report test lint static torture lab lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

report: $(READY) ## measure, and write reports/<run>/; options: make report ARGS="--dataset ..."
	@$(BIN)/dtrag report $(ARGS)

test: static ## every check and every test
	@echo "test: pytest"
	@$(PYTEST)

lint: static ## every check that runs no code of the package: style, types, layers, notebooks
	@echo "lint: layers and notebooks"
	@$(BIN)/pytest -q tests/frame/test_layers.py tests/frame/test_notebook_files.py

static: $(READY)
	@echo "lint: ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@echo "lint: mypy"
	@$(BIN)/mypy

torture: $(READY) ## kill what writes an index, then soak the service; ARGS="--kills N --soak MINUTES"
	@$(BIN)/dtrag torture $(ARGS)

lab: $(READY) ## open JupyterLab in notebooks/
	@DTRAG_HOME=$(CURDIR)/.dtrag $(BIN)/jupyter lab --notebook-dir=notebooks $(ARGS)

lock: ## pin what pyproject.toml asks for; ARGS=--upgrade for newer (needs uv)
	@uv=$$(command -v uv || command -v $(BIN)/uv) || \
	  { echo "make lock needs uv on PATH or in $(BIN): pip install uv" >&2; exit 1; }; \
	$$uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --extra dev --extra minilm --extra peers pyproject.toml \
	  -o requirements.lock $(ARGS)

clean: ## remove the environment and every cache; reports stay
	rm -rf $(VENV) .dtrag .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted set-up starts over. Bytecode is compiled on all
# cores afterwards, which takes a fifth of the time pip needs for it.
$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] <= (3, 13) else "needs Python 3.11, 3.12 or 3.13, but %s is %d.%d.%d; choose another: make PYTHON=python3.12 ..." % (sys.executable, v[0], v[1], v[2]))'
	@echo "set-up 1/4: $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "set-up 2/4: the packages of requirements.lock (about a minute)"
	@$(BIN)/pip install --quiet --no-compile --require-hashes -r requirements.lock
	@echo "set-up 3/4: bytecode"
	@$(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@echo "set-up 4/4: dtrag-bench itself, editable"
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
