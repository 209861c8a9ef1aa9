# make demo: the whole chain on synthetic faces.  make test, make lint: for developers.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint clean
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

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m kdloss.results check

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
