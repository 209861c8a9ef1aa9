# make demo: the whole chain on synthetic faces.  make test, make lint, make notebooks: for developers.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint notebooks store-notebooks clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): setup.cfg setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdloss needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

data/%/manifest.json: | $(INSTALLED)
	test -d data/raw/synthetic-$* || \
	  $(BIN)/python -m data_prep synthetic --layout $* --count 480 --test-count 100 --seed 0 --out data/raw/synthetic-$*
	$(BIN)/python -m data_prep $* --source data/raw/synthetic-$* --out data/$*

demo: $(INSTALLED) data/300w/manifest.json data/cofw/manifest.json
	$(BIN)/python -m kdloss.reproduce --dataset cofw --preset smoke --no-ablation
	$(BIN)/python -m kdloss.reproduce --dataset 300w --preset smoke --no-ablation

# One process a core, each on one thread: small networks gain little from a second.
PARALLEL := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
  --numprocesses auto --maxprocesses 4 --dist loadfile

test: $(INSTALLED)
	$(PARALLEL)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m kdloss.results check

# The notebooks on a demo in miniature: shows that they run, not what good models look like.
MINIATURE := build/miniature

$(MINIATURE)/runs/reproduce-300w-smoke/report.html: $(wildcard asm/*.py data_prep/*.py kdloss/*.py kdloss/*/*.py) | $(INSTALLED)
	rm -rf $(MINIATURE)
	$(BIN)/python -m data_prep synthetic --layout 300w --count 120 --test-count 40 --seed 0 --out $(MINIATURE)/raw
	$(BIN)/python -m data_prep 300w --source $(MINIATURE)/raw --out $(MINIATURE)/data/300w
	KDLOSS_RUNS=$(MINIATURE)/runs $(BIN)/python -m kdloss.reproduce --dataset 300w --data $(MINIATURE)/data/300w \
	  --preset smoke --no-ablation --epochs 2

notebooks: $(MINIATURE)/runs/reproduce-300w-smoke/report.html
	KDLOSS_DATA=$(CURDIR)/$(MINIATURE)/data KDLOSS_RUNS=$(CURDIR)/$(MINIATURE)/runs $(PARALLEL) \
	  --nbmake --nbmake-timeout=240 notebooks

# Runs the notebooks on the data of make demo and keeps their outputs. Without fd capture, or TensorFlow's greetings stay.
store-notebooks: demo
	$(BIN)/jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False \
	  --ExecutePreprocessor.extra_arguments=--IPKernelApp.capture_fd_output=False notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams notebooks/*.ipynb

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
