# `make` alone lists what there is. `make PYTHON=/path/to/python3.12 install` chooses the interpreter.
VENV := .venv
STAMP := $(VENV)/.installed
STORE := runs/quickstart
REPORT := runs/quickstart-report
# of pytest: two processes, a file at a time
ARGS := -n 2 --dist loadfile
GPU_PYTHON := $(VENV)/bin/python
USABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test check gpu

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(STAMP)  ## .venv with what the quickstart, the tests and the checks need

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11, 3.12 or 3.13 with venv found. Install one, or: make PYTHON=/path/to/python install" >&2; \
		exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[quickstart,test,check]'
	@touch $@

quickstart: install  ## the sweep on real weights and data, thresholds, a report; failed trials: exit 1 after the report
	@$(VENV)/bin/apet run quickstart --store $(STORE); status=$$?; \
	if [ $$status -gt 1 ]; then exit $$status; fi; \
	echo && $(VENV)/bin/apet thresholds --store $(STORE) && \
	$(VENV)/bin/apet report --store $(STORE) --out $(REPORT) >/dev/null && \
	echo && echo "The report: $(REPORT)/index.html" && \
	echo "Three things to try next:" && \
	echo "  $(VENV)/bin/apet query 'select backbone, method, count_actual, test_score from selected order by all' --store $(STORE)" && \
	echo "  $(VENV)/bin/apet sweeps quickstart > mine.yaml    # edit the counts, then: $(VENV)/bin/apet plan mine.yaml --store $(STORE)" && \
	echo "  $(VENV)/bin/apet run quickstart --store $(STORE)  # again: it does nothing, the store has it all" && \
	exit $$status

test: install  ## the default tests; others: make test ARGS="-m slow"
	$(VENV)/bin/python -m pytest $(ARGS)

check: install  ## format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

gpu:  ## with a GPU: its tests, then what benchmarks/gpu.py measures (docs/gpu.md), eight minutes together
	@mkdir -p runs; status=0; \
	timeout -s INT 120 $(GPU_PYTHON) -m pytest -o addopts= --import-mode=importlib -q -m gpu tests/workers || status=$$?; \
	$(GPU_PYTHON) benchmarks/gpu.py --seconds 350 --out runs/gpu.jsonl && exit $$status
