# make demo: the whole chain on synthetic faces.  For developers, see CONTRIBUTING.md: make lint, make test (with line
# coverage), make test-jax, make test-newest, make notebooks, make docs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install install-newest demo test test-slow test-all test-jax test-newest test-most lint docs notebooks store-notebooks clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): setup.cfg setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "kdloss needs Python 3.11.4 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

data/%/manifest.json: | $(INSTALLED)
	test -d data/raw/synthetic-$* || \
	  $(BIN)/python -m data_prep synthetic --layout $* --count 480 --test-count 100 --seed 0 --out data/raw/synthetic-$*
	$(BIN)/python -m data_prep $* --source data/raw/synthetic-$* --out data/$*

demo: $(INSTALLED) data/300w/manifest.json
	$(BIN)/python -m kdloss.reproduce --dataset 300w --recipe smoke --no-ablation

# One process a core, each on one thread: small networks gain little from a second.
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1
PYTEST := pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# COVER=1 records which lines run.
RUN := $(if $(COVER),coverage run -m )$(PYTEST)

test: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m $(RUN) -m "not slow"

test-slow: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m $(RUN) -m slow

# Ends with 1 where a test fails, or where make test runs too few lines.
test-all: $(INSTALLED)
	rm -rf build/coverage && mkdir -p build/coverage
	$(MAKE) COVER=1 test
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=85 --format=total
	$(MAKE) test-slow

# What depends on the back end most, on JAX. Tests that are TensorFlow's by nature are skipped and say why. XLA compiles
# whatever a test does: to do that well takes longer than it saves.
ON_JAX := training/test_fit_interrupted.py training/test_trainer.py training/test_callbacks.py losses \
  models/test_heatmaps.py data/test_batches.py data/test_device_views.py

test-jax: $(INSTALLED)
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 $(ONE_THREAD) \
	  $(BIN)/python -m $(PYTEST) -m "not slow" $(addprefix tests/,$(ON_JAX))

# The newest Python that TensorFlow has wheels for, in whatever place it is; pyenv's need not be on the path.
NEWEST := 3.13
NEWEST_PYTHON ?= $(firstword $(foreach found,python$(NEWEST) $(wildcard $(HOME)/.pyenv/versions/$(NEWEST).*/bin/python3),\
  $(shell $(found) -c 'import sys; print(sys.executable)' 2> /dev/null)))

install-newest:
	@if test -n "$(NEWEST_PYTHON)"; then $(MAKE) VENV=.venv-newest PYTHON=$(NEWEST_PYTHON) install; \
	else echo "Python $(NEWEST) is not to be had: nothing is tested on it" >&2; fi

test-newest: install-newest
	@if test -n "$(NEWEST_PYTHON)"; then $(MAKE) VENV=.venv-newest PYTHON=$(NEWEST_PYTHON) test-most; fi

# What depends on Python and on packages most. Continuous integration has twenty minutes for everything.
ON_NEWEST := models/test_checkpoint.py training/test_callbacks.py commands/test_verbs.py asm data data_prep losses \
  inference/test_detectors.py inference/test_prediction.py models/test_heatmaps.py test_files.py test_errors.py \
  evaluation/test_predictions.py evaluation/test_protocol.py evaluation/test_metrics.py evaluation/test_plots.py

test-most: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m $(PYTEST) -m "not slow" $(addprefix tests/,$(ON_NEWEST))

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/tables.py --check

# The site of the documents, build/site/index.html. A link that leads nowhere ends it with 1.
docs: $(INSTALLED)
	mkdir -p build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# The notebooks on a demo in miniature: shows that they run, not what good models look like.
MINIATURE := build/miniature

$(MINIATURE)/runs/reproduce-300w-smoke/report.html: $(wildcard asm/*.py data_prep/*.py kdloss/*.py kdloss/*/*.py) | $(INSTALLED)
	rm -rf $(MINIATURE)
	$(BIN)/python -m data_prep synthetic --layout 300w --count 120 --test-count 40 --seed 0 --out $(MINIATURE)/raw
	$(BIN)/python -m data_prep 300w --source $(MINIATURE)/raw --out $(MINIATURE)/data/300w
	KDLOSS_RUNS=$(MINIATURE)/runs $(BIN)/python -m kdloss.reproduce --dataset 300w --data $(MINIATURE)/data/300w \
	  --recipe smoke --no-ablation --epochs 2

notebooks: $(MINIATURE)/runs/reproduce-300w-smoke/report.html
	KDLOSS_DATA=$(CURDIR)/$(MINIATURE)/data KDLOSS_RUNS=$(CURDIR)/$(MINIATURE)/runs $(ONE_THREAD) \
	  $(BIN)/python -m $(PYTEST) --nbmake --nbmake-timeout=240 notebooks

# Runs the notebooks on the data of make demo and keeps their outputs. Without fd capture, or TensorFlow's greetings stay.
store-notebooks: demo
	$(BIN)/jupyter nbconvert --to notebook --inplace --execute --ExecutePreprocessor.record_timing=False \
	  --ExecutePreprocessor.extra_arguments=--IPKernelApp.capture_fd_output=False notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams notebooks/*.ipynb

clean:
	rm -rf .venv .venv-newest build dist *.egg-info .pytest_cache .ruff_cache
