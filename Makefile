# Everything runs in .venv, which `make env` makes; nothing has to be installed by hand.
.DEFAULT_GOAL := help
PYTHON ?= python3
RUN := .venv/bin/python -m
# The tests run the wheel that users install, not the source tree.
INSTALLED := build/installed/bin/python -m

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: ## Make .venv from the lock (done by every other target)
	@$(PYTHON) .ci/env.py

.PHONY: wheel
wheel: ## Make build/installed, as .venv but with the wheel installed (done by the targets that test it)
	@$(PYTHON) .ci/env.py --wheel

.PHONY: test
test: check docs programs embedded ## Check all: lint, types, docs, every test on the embedded cluster and on a real one
	$(INSTALLED) pytest --on real -m "not alone" -n 2 --dist loadgroup tests
	$(INSTALLED) pytest --on real -m alone tests

.PHONY: embedded
embedded: wheel ## Run every test that needs no real cluster, on the wheel: a few minutes, no root
	@$(PYTHON) .ci/browser.py
	$(INSTALLED) pytest --on embedded -n 6 --dist loadgroup --ignore tests/live/test_soak.py tests --pyargs podfleet
	$(INSTALLED) pytest --on embedded tests/live/test_soak.py

.PHONY: unit
unit: env ## Run the tests that need no cluster
	$(RUN) pytest tests/unit src

.PHONY: check
check: env ## Lint, check the format and the types, ours and a user's
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) pytest -q tests/typing

.PHONY: format
format: env ## Format the code and fix what can be fixed
	$(RUN) ruff check --fix
	$(RUN) ruff format

.PHONY: docs
docs: env ## Build the docs into build/docs, warnings are errors
	$(RUN) sphinx -n -W --keep-going -q -b html docs build/docs

.PHONY: programs
programs: env ## Build all that the real cluster's tests run: twenty minutes on two cores, once (done by `make test`)
	$(RUN) tests.cluster build

.PHONY: cluster
cluster: env ## Start the test cluster and print how to use it
	$(RUN) tests.cluster up

.PHONY: cluster-down
cluster-down: env ## Stop the test cluster and remove every trace of it
	$(RUN) tests.cluster down

.PHONY: demo
PORT ?= 8000
demo: env ## Serve a web game whose every match is a Pod, without a cluster; PORT=8000
	@PYTHONPATH=examples exec $(RUN) arcade --port $(PORT) $(ARGS)

.PHONY: first-endpoint
first-endpoint: env ## Allocate, dial and release one game server, without a cluster
	.venv/bin/python examples/first_endpoint.py

.PHONY: bench
bench: env ## Run the benchmarks on the test cluster
	$(RUN) benchmarks.cold_allocate
	$(RUN) benchmarks.warm_allocate
	$(RUN) benchmarks.observability
	$(RUN) benchmarks.tending

.PHONY: bench-import
bench-import: wheel ## Measure what `import podfleet` costs beyond the client's own import
	$(INSTALLED) benchmarks.imports

.PHONY: dist
dist: env ## Build the wheel and the sdist into dist
	rm -rf dist
	$(RUN) hatchling build -d dist

.PHONY: soak
soak: env ## Simulated days with random faults on the embedded cluster: five minutes; ARGS="--seed 7"
	$(RUN) tests.soak $(ARGS)

.PHONY: lock
lock: ## Choose the newest versions that pyproject.toml allows, and lock them
	PYTHON=$(PYTHON) .ci/lock

.PHONY: clean
clean: ## Remove what was made in this checkout; the cache outside it stays
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
