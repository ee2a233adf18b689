# Everything needed is installed into .venv; a fresh clone needs Python ≥ 3.11 with pip and venv, and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export OMP_NUM_THREADS ?= 1

.PHONY: test lint slow demo bench clean

test: lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What `test` leaves out: minutes each.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m slow

demo: $(VENV)/.demo
	$(BIN)/convfold demo

# One script per claim; each prints a table and writes JSON.
bench: $(VENV)/.dev
	@status=0; for script in models savings plans mutations border border_table result_speed fold_time plan_time; do $(BIN)/python -m benchmarks.$$script || status=1; done; exit $$status

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo  # dev includes demo

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@
