# `make demo` and `make test` need Python 3.11 with pip and venv, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help venv demo test test-fast check format bench faults protos settings client lock clean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

venv: .venv/installed-test ## Build the environment in .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[service]'
	touch $@

# With PyTorch, which is an oracle in tests and the rival in benchmarks.
.venv/installed-test: .venv/installed
	$(INSTALL) --editable '.[test,torch]'
	touch $@

demo: .venv/installed ## Train a network on scanned digits
	$(BIN)/sumgrad run examples/digits.toml

test: .venv/installed-test ## Run the tests
	$(BIN)/python tools/fetch_promtool.py
	$(BIN)/python tools/install_postgres.py
	$(BIN)/python -m pytest

test-fast: .venv/installed-test ## Run the tests for work: no Ray, no Postgres, none that is slow
	$(BIN)/python -m pytest -m 'not system and not postgres and not slow' tests

check: .venv/installed-test ## Lint, types, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python tools/generate_settings.py --check
	$(BIN)/python tools/generate_client.py --check

format: .venv/installed-test ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-test ## Measure against PyTorch
	$(BIN)/python -m benchmarks.compare

faults: .venv/installed-test ## Measure what faults cost
	$(BIN)/python -m benchmarks.faults

protos: .venv/installed-test ## Generate the code of proto/
	$(BIN)/python tools/generate_protos.py

settings: .venv/installed-test ## Generate what the docs say of settings
	$(BIN)/python tools/generate_settings.py

client: .venv/installed-test ## Generate the blocking client
	$(BIN)/python tools/generate_client.py

lock: .venv/installed-test ## Renew the locked versions
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra test --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --upgrade --output-file constraints.txt

clean: ## Remove what was built
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info build
