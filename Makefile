# Every target is one visible command. Another virtual environment: make test VENV=/path
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
REVIEWED = $(or $(RUNS),$(ICLGD_RUNS),runs)
WANDB ?= $(if $(WANDB_ENTITY),$(WANDB_ENTITY)/$(or $(WANDB_PROJECT),iclgd))

.PHONY: help install lint type test test-slurm debug run sweep report bench docs

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## create the virtual environment and install everything that the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

lint: install  ## style and common mistakes
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: install  ## static types
	$(BIN)/mypy

test: lint type  ## lint, types, tests and doctests (minutes)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist worksteal

test-slurm: install  ## sweeps on a real Slurm: the one of SLURM_CONF, else ../shared/slurm, else it says why it skips
	tests/slurm/run $(BIN)/pytest -m 'slurm and not slow' tests/slurm

debug: install  ## both pipelines, small, on the CPU, and their report
	$(BIN)/iclgd run debug
	$(BIN)/iclgd run embedded task.num_queries=64
	$(BIN)/iclgd report $(REVIEWED) --out $(or $(OUT),report.html)

run: install  ## an experiment: make run CONFIG=one_layer ARGS='seed=1'
	$(BIN)/iclgd run $(or $(CONFIG),one_layer) $(ARGS)

sweep: install  ## trials: make sweep SWEEP=smoke WORKERS=2 [LAUNCHER=slurm NODES_PER_TRIAL=2 GPUS_PER_NODE=4 COUNT= DIR= RESUME=1 ARGS=]
	$(BIN)/iclgd sweep $(or $(SWEEP),smoke) --launcher $(or $(LAUNCHER),local) --workers $(or $(WORKERS),2) \
		$(if $(NODES_PER_TRIAL),--nodes-per-trial $(NODES_PER_TRIAL)) $(if $(GPUS_PER_NODE),--gpus-per-node $(GPUS_PER_NODE)) \
		$(if $(ENGINE),--engine $(ENGINE)) $(if $(COUNT),--count $(COUNT)) $(if $(DIR),--dir $(DIR)) $(if $(RESUME),--resume) $(ARGS)

report: install  ## all runs in report.html [RUNS= OUT= ARGS=]; with WANDB_API_KEY in a W&B Report too [WANDB=ENTITY/PROJECT]
	$(BIN)/iclgd report $(REVIEWED) --out $(or $(OUT),report.html) $(ARGS)
	$(if $(WANDB_API_KEY),$(if $(WANDB),$(BIN)/iclgd report $(REVIEWED) --wandb $(WANDB) $(ARGS),@echo "no W&B Report: say where with make report WANDB=ENTITY/PROJECT"))

bench: $(VENV)/.installed-bench  ## training speed beside a plain loop and a JAX peer
	$(BIN)/iclgd bench regression

docs: install  ## the documentation as a site, in build/docs/index.html; needs no network once it is installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
