# Everything here sets itself up: a clean clone needs only Python (>= 3.11) and make.
PYTHON ?= python3
# one environment a Python, so that `make test PYTHON=python3.12` leaves the other alone
VENV := .venv$(if $(filter-out python3,$(notdir $(PYTHON))),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
OUT ?= runs/depthwise_separable_cnn
# Python files are used where they are; when one of these changes, jsep is installed anew, and its kernels are built
PARTS := pyproject.toml jsep/native/CMakeLists.txt $(wildcard jsep/native/src/*)

# two cores: steal what the other worker has not begun
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: compare test test-all check check-all lint format docs clean

compare: $(VENV)/installed  ## train the three networks on the embedded digits and make the report
	$(BIN)/jsep compare experiments/depthwise_separable_cnn.py --out $(OUT) --resume

test: $(VENV)/installed-dev  ## everything that must hold: style, types, tests
	$(MAKE) --jobs 2 lint check

test-all: $(VENV)/installed-all  ## and all that takes longer: tables, parity, processes, TPU compiler, converters, notebook
	$(MAKE) --jobs 2 lint docs check-all

check: $(VENV)/installed-dev
	$(PYTEST)

check-all: $(VENV)/installed-all
	$(PYTEST) -m '' --durations 40
	JSEP_NATIVE=0 JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) tests/ops tests/layers tests/train

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs  ## the pages, into site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(PARTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/jsep --version
	touch $@

$(VENV)/installed-dev: $(PARTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev,fast]'
	$(BIN)/jsep --version
	touch $@

$(VENV)/installed-docs: $(PARTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

# the converters pin older versions of what jsep needs newer; without PyTorch the tests of parity say why they are skipped
$(VENV)/installed-all: $(PARTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev,docs,fast,keras,onnx,tflite,tpu-compiler]' 'keras>=3.8'
	$(BIN)/python -m pip install --quiet --no-deps jax2onnx litert-converter
	$(BIN)/jsep --version
	-$(BIN)/python -m pip install --quiet torch==2.14.1 torchvision==0.29.1 timm pytorchcv torchmetrics
	touch $(VENV)/installed-dev $(VENV)/installed-docs $@

clean:
	rm -rf .venv* runs site build dist *.egg-info jsep/native/*.so
