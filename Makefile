# Everything needed is installed into .venv; a fresh clone needs Python ≥ 3.11 with pip and venv, and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The oldest torch that pyproject.toml allows, and the newest that the tests have passed on.
TORCH  := $(shell sed -n 's/.*"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml) 2.14.1

export OMP_NUM_THREADS ?= 1

.PHONY: test tests lint slow compat demo docs bench clean help

test: $(VENV)/.dev ## lint and tests, side by side: all that CI does
	@$(MAKE) --no-print-directory -j 2 --output-sync=target tests lint

tests: $(VENV)/.dev ## the tests alone
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.dev ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(VENV)/.dev ## the tests that take minutes each, which `test` leaves out, and three times the examples of every law
	$(BIN)/python -m pytest -n 2 -m slow
	CONVFOLD_THOROUGH=1 $(BIN)/python -m pytest -n 2 tests/laws tests/algebra tests/layers tests/plan tests/merge

# Gigabytes an environment: most builds of torch bring CUDA.
compat: $(TORCH:%=compat-%) ## the tests on the oldest and the newest torch, each in an environment of its own

compat-%:
	$(PYTHON) -m venv .compat/$*
	grep -v '^torch==' constraints.txt > .compat/$*/constraints.txt
	.compat/$*/bin/python -m pip install --quiet -c .compat/$*/constraints.txt torch==$* -e '.[dev]'
	.compat/$*/bin/python -m pytest -n 2

demo: $(VENV)/.demo ## `convfold demo`
	$(BIN)/convfold demo

docs: $(VENV)/.dev ## the site, into site/: no warning, no link that leads nowhere, nothing fetched
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev ## the benchmarks: a script a claim, each prints a table and writes JSON
	@status=0; for script in models savings plans mutations border border_table onnx_nodes result_speed fold_time plan_time onnx_large; do $(BIN)/python -m benchmarks.$$script || status=1; done; exit $$status

clean: ## remove environments, builds and caches
	rm -rf $(VENV) .compat build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo  # dev includes demo

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@
