# Figment. `make demo` and `make test` set up everything by themselves, inside this folder.
include .env
export

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := .venv/bin/python
IN_TURN := tests/e2e tests/figment/ops
DEMO := pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml

.DEFAULT_GOAL := help
.PHONY: help setup demo best test lint docs ui dashboard gates tables worlds

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.uv/bin/uv:
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check uv

.venv/.synced: pyproject.toml uv.lock $(filter .uv/bin/uv,$(UV))
	$(UV) sync --locked --quiet
	@touch $@

setup: .venv/.synced  ## install the locked packages into .venv
	@$(RUN) -m figment.ops.relocate

demo: setup  ## class names -> images -> classifier -> table, on the embedded models (minutes, two CPU cores)
	@$(RUN) -m figment.ops.run $(DEMO)

best: setup  ## the demo with unlabelled images of the target and two shots a class, against CLIP with the same
	@$(RUN) -m figment.ops.run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/best.yaml

test: setup lint  ## lint, types, docs, import contracts and all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 tests $(IN_TURN:%=--ignore=%); others=$$?; $(RUN) -m pytest $(IN_TURN) && exit $$others

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy
	$(RUN) -m mkdocs build --strict --quiet

docs: setup  ## the site, in .figment/site/index.html; runs the notebook first (a minute)
	$(RUN) docs/hooks.py
	$(RUN) -m mkdocs build --strict --quiet

ui: setup  ## the MLflow UI on http://127.0.0.1:5000
	@$(RUN) -m figment.ops.state
	$(RUN) -m mlflow ui --backend-store-uri sqlite:///.figment/mlflow.db --host 127.0.0.1 --port 5000 --workers 1

dashboard:  ## ZenML's dashboard on http://127.0.0.1:8237, with the extra packages it needs
	$(UV) sync --locked --quiet --extra server
	@$(RUN) -m figment.ops.dashboard

gates: setup  ## Great Expectations' Data Docs of all runs' gates (the page loads scripts from the web)
	@$(RUN) -m figment.ops.expectations

tables: setup  ## the papers' tables in miniature, with intervals: docs/results.md (an hour; goes on where interrupted)
	$(RUN) -m benchmarks.tables

worlds: setup  ## train the embedded models again (hours; resumes where interrupted). CIFAR-10 as Parquet: DATA=FOLDER
	$(RUN) -m pocket.make pocket/drawings.yaml
	$(if $(DATA),$(RUN) -m pocket.make pocket/photos.yaml world.source=$(DATA))
