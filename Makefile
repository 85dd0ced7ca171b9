# `make` or `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test soak bench lint format protos lock docs clean
BIN := .venv/bin
ARGS ?=
PYTHON ?= python3
export PYTHON

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready-run: requirements/base.txt requirements/vm.txt pyproject.toml scripts/setup.sh
	@scripts/setup.sh run
	@touch $@

.venv/.ready-test: .venv/.ready-run requirements/dev.txt scripts/setup.sh
	@scripts/setup.sh test
	@touch $@

setup: ## make the virtual environment that `ncc` runs in
	@scripts/setup.sh run
	@touch .venv/.ready-run

demo: .venv/.ready-run ## run the main job once, for real, in a sandbox
	@$(BIN)/python scripts/demo.py $(ARGS)

test: .venv/.ready-test .venv-protos/.ready ## run all tests (ARGS="-k queue" for some)
	@$(BIN)/python -m pytest --no-header $(ARGS)

soak: .venv/.ready-test ## run the long tests: kill -9 at every failpoint with 25 seeds
	@$(BIN)/python -m pytest -q -m soak --timeout 3600 $(ARGS)

bench: .venv/.ready-test ## measure, print the table, write build/bench.json
	@$(BIN)/python -m compileall -q cli common reconciler services protos/gen
	@$(BIN)/python scripts/bench/run.py $(ARGS)

lint: .venv/.ready-test ## ruff, mypy --strict, import-linter, buf
	@echo "ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "mypy"; $(BIN)/mypy
	@echo "import-linter"; $(BIN)/lint-imports
	@echo "buf"; $(BIN)/python scripts/lint_protos.py

format: .venv/.ready-test ## format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

.venv-protos/.ready: requirements/protos.txt | .venv/.ready-run
	@$(PYTHON) -m venv .venv-protos
	@.venv-protos/bin/python -m pip -q --disable-pip-version-check install --require-hashes --only-binary :all: -r requirements/protos.txt
	@touch $@

protos: .venv-protos/.ready ## generate protos/gen from protos/nixcc
	@.venv-protos/bin/python scripts/generate_protos.py

docs: .venv/.ready-test ## generate docs/reference from the protos
	@$(BIN)/python scripts/generate_reference.py

lock: ## resolve the dependencies anew into requirements/*.txt
	@scripts/lock.sh

clean: ## remove what the other targets made
	@rm -rf .venv .venv-protos build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
