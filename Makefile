# Everything happens in .venv, which the first target that needs it creates.
# Variables: PYTHON (3.10 to 3.13), IMAGE, DATASET, PIP_FLAGS (for example
# PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for torch without CUDA).

VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.10; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& echo $$python && break; done)
IMAGE ?=
DATASET ?= kodak
WORKERS ?= 2
PACKAGES := cli codec configs datasets eval web

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format web web-test train bench results tables graphs build clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamps are the dependencies: torch before all that needs it, so that nothing else chooses its
# version. The demonstration does without.
$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "no Python 3.10 or newer found: make PYTHON=/path/to/python"; exit 1; }
	@echo "creating $(VENV) and installing: a few minutes, the first time only"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) "torch==2.13.*"
	@touch $@

$(VENV)/.demo: $(VENV)/.python setup.cfg
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[demo]"
	@touch $@

$(VENV)/.full: $(VENV)/.torch setup.cfg
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -e ".[eval,cvvdp,dev,ray]"
	@touch $@ $(VENV)/.demo

install: $(VENV)/.full  ## create .venv with imgcodec and all that evaluation and tests need

demo: $(VENV)/.demo  ## encode and decode a photograph and compare; IMAGE=path for your own
	$(BIN)/imgcodec demo $(if $(IMAGE),"$(IMAGE)") --out runs/demo

# A thread for each worker: two that share cores are slower than one.
test: $(VENV)/.full  ## run the tests but for long sweeps; WORKERS=2 processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(VENV)/.full  ## run all tests, as CI does
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.full  ## check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/lint/imgcodec
	@for name in $(PACKAGES); do ln -sfn ../../../$$name build/lint/imgcodec/$$name; done
	@for name in __init__ __main__ pillow pool processors; do \
		ln -sf ../../../imgcodec/$$name.py build/lint/imgcodec/; done
	cd build/lint && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml

format: $(VENV)/.full  ## rewrite the files in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

web/node_modules: web/package-lock.json
	cd web && npm ci --silent
	@touch $@

web: web/node_modules  ## build the page of `imgcodec view` (needs npm)
	cd web && npm run --silent build

web-test: web $(VENV)/.full  ## test the decoder in node and, where Chromium is there, the page
	cd web && npm test --silent
	$(BIN)/python -m pytest tests/web

train: $(VENV)/.full  ## train the beta model on the shards below IMGCODEC_DATA
	@test -n "$(IMGCODEC_DATA)" || { echo "set IMGCODEC_DATA to the folder that holds train/*.tar"; exit 1; }
	$(BIN)/imgcodec train configs/beta.yaml --data "$(IMGCODEC_DATA)/train" --out runs/beta

bench: $(VENV)/.full  ## measure against other codecs on DATASET=kodak, write a report
	$(BIN)/imgcodec bench --dataset $(DATASET) --out runs/bench --resume

results: $(VENV)/.full  ## measure and draw what eval/results/plan.yaml lists and lacks; ARGS="--only kodak"
	$(BIN)/python -m imgcodec.eval.rebuild $(ARGS)
	$(MAKE) --no-print-directory tables

tables: $(VENV)/.full  ## make the tables of all documents anew from eval/results
	$(BIN)/python -m imgcodec.eval.documents README.md MODELS.md $(wildcard eval/results/README.md)

graphs: $(VENV)/.full  ## make the graphs of all weights anew: their networks, to run without torch
	$(BIN)/python -m imgcodec.codec.training.graphs codec/weights/*.safetensors

build: $(VENV)/.full  ## build a wheel in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove .venv, builds and caches; keeps runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
