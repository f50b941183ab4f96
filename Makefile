# make demo, make test, make docs, make tutorial: each sets everything up first, where that is missing.
# STACK, OPS, TORCH, PYTHON choose what is set up: see tools/setup.sh
export STACK OPS TORCH PYTHON
BIN := $(shell STACK=$(STACK) OPS=$(OPS) TORCH=$(TORCH) tools/setup.sh --print-venv)/bin
DEMO := configs/demo/yolov8_n
NOTEBOOK := docs/tutorial/tutorial.ipynb

.PHONY: setup demo test lint docs tutorial check clean

setup:
	@tools/setup.sh

demo: setup
	@test -f data/digits/annotations/val.json || \
		$(BIN)/python tools/dataset_converters/make_digits.py
	$(BIN)/python tools/train.py $(DEMO)_baseline_1xb4-6e_digits.py \
		--work-dir work_dirs/demo/without
	@echo; echo "The last two epochs again, with the penalty on confident background:"
	$(BIN)/python tools/train.py $(DEMO)_bg-max_1xb4-6e_digits.py \
		--work-dir work_dirs/demo/with --resume work_dirs/demo/without/epoch_4.pth
	$(BIN)/python tools/demo_report.py work_dirs/demo/without work_dirs/demo/with

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 10

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# docs/tutorial.py as a notebook and a page, executed: about ten minutes
tutorial: export PATH := $(abspath $(BIN)):$(PATH)
tutorial: setup
	rm -rf docs/tutorial
	mkdir docs/tutorial
	jupytext --to ipynb --set-kernel python3 --output $(NOTEBOOK) docs/tutorial.py
	jupyter nbconvert --to notebook --execute --inplace $(NOTEBOOK) \
		--ExecutePreprocessor.record_timing=False
	jupyter nbconvert --to markdown --output index $(NOTEBOOK) \
		--CoalesceStreamsPreprocessor.enabled=True

check: setup
	$(BIN)/python -m mmareaaware.check

clean:
	rm -rf .venv* build dist site *.egg-info work_dirs data/digits
