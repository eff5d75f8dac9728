# Everything works on a bare Debian or Ubuntu with git, make and Python 3.11+ (with venv).
PYTHON ?= python3
# Tests run so many at once; each file of them stays in one process.
JOBS ?= 2
BIN := .venv/bin
# Models of tests that run at once share the cores: a thread of theirs that has to wait sleeps.
PATIENT := OMP_WAIT_POLICY=passive
export Q

.DEFAULT_GOAL := help
.PHONY: help setup fmt check test test-all serve ask ask-suite bench-ask bench-agents hundred-files bench-swarm bench-letters bench-k2 bench-k2-memory bench-api api-faults models crash-matrix clean

help:  ## Show this help.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "The venv module is missing: apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@touch $@

.venv/user: .venv/made pyproject.toml
	@echo "Installing Chogori into .venv"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,tools,sandbox]'
	@touch $@

.venv/dev: .venv/made pyproject.toml
	@echo "Installing Chogori and what develops it into .venv"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/user .venv/serve

setup: .venv/dev  ## Install everything for development into .venv.

models: .venv/user
	@$(BIN)/chogori models pull local
	@$(BIN)/chogori models pull smollm2

ask: .venv/user  ## Ask a question: make ask Q="How many days are there from 1972-03-14 to 2026-01-27?"
	@$(BIN)/chogori models pull local
	@$(BIN)/chogori ask -- "$$Q"

.venv/serve: .venv/made pyproject.toml
	@echo "Installing Chogori and its server into .venv"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,serve]'
	@touch $@

serve: .venv/serve  ## Serve the embedded model on 127.0.0.1:8000; the first start prints a key.
	@$(BIN)/chogori models pull local
	@$(BIN)/chogori serve

fmt: setup  ## Format the code.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

check: setup  ## Lint, types, import contracts.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

test: setup models  ## Run the tests (what takes long is left to test-all).
	@$(PATIENT) $(BIN)/pytest -q -rs -n $(JOBS) --dist loadfile -m "not slow"

test-all: setup models  ## Run all the tests.
	@$(PATIENT) $(BIN)/pytest -q -rs -n $(JOBS) --dist loadfile

ask-suite: setup  ## Ask the embedded model 60 fresh questions; exits 1 if a measure is missed.
	@$(BIN)/chogori models pull local
	@$(BIN)/python bench/ask_suite.py

bench-ask: setup  ## The same twelve questions through smolagents and through Chogori.
	@$(BIN)/chogori models pull local
	@$(BIN)/python bench/ask_peer.py

bench-agents: setup  ## Our harness beside its peers; exits 1 if a measure is missed.
	@$(BIN)/python bench/agents.py

bench-swarm: setup  ## A swarm beside its peers, before an endpoint that refuses, and through faults; exits 1 if a measure is missed.
	@$(BIN)/python bench/swarm.py

bench-letters: setup  ## Forty letters read by a swarm and by one agent, with the embedded model.
	@$(BIN)/chogori models pull local
	@$(BIN)/python bench/letters.py

hundred-files: setup  ## A hundred calls in a row by the embedded model, killed twice; exits 1 if a measure is missed.
	@$(BIN)/chogori models pull local
	@$(BIN)/python bench/hundred_files.py

crash-matrix: setup  ## Kill runs at every boundary, resume and compare; exits 1 if a measure is missed.
	@$(BIN)/python bench/crash_matrix.py

bench-k2: setup  ## Measure the K2 engine: a true-size layer, INT4 against bf16, decoding beside transformers.
	@$(BIN)/python bench/k2.py

bench-k2-memory: setup  ## Run a checkpoint of 4 GB in a quarter of that; exits 1 if it takes more or says something else.
	@$(BIN)/python bench/k2_memory.py

bench-api: setup  ## What our server adds to a request, beside LiteLLM; exits 1 if a measure is missed.
	@$(BIN)/python bench/api_overhead.py

api-faults: setup  ## Break upstreams, clients and the server itself; exits 1 if a measure is missed.
	@$(BIN)/python bench/api_faults.py

clean:  ## Remove what was installed and cached here.
	@rm -rf .venv .venv-peers .node build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
