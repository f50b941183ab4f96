# make demo, make test: each sets everything up first, where that is missing.
# STACK=onedl, TORCH=2.8.0, PYTHON=python3.12 choose what is set up: see tools/setup.sh
export STACK TORCH PYTHON
BIN := $(shell STACK=$(STACK) TORCH=$(TORCH) tools/setup.sh --print-venv)/bin
DEMO := yolov8_n_bg-max_1xb8-14e_digits

.PHONY: setup demo test lint check clean

setup:
	@tools/setup.sh

demo: setup
	@test -f data/digits/annotations/val.json || \
		$(BIN)/python tools/dataset_converters/make_digits.py
	$(BIN)/python tools/train.py configs/demo/$(DEMO).py --work-dir work_dirs/demo
	$(BIN)/python tools/demo_report.py work_dirs/demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 10

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: setup
	$(BIN)/python -m mmareaaware.check

clean:
	rm -rf .venv* build dist *.egg-info work_dirs data/digits
