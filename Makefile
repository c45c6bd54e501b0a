# make study        every study, with a report to look at (results/index.html)
# make test         the tests
# make check        format, lint, types, tests: run it before each commit
# make conformance  the scoreboard against PyTorch; CONFORMANCE=folder says where it is
# make bench        the benchmarks
# make ulp          the errors of the elementary functions over all float32 numbers: minutes a function
# make clean        removes the virtual environment and all caches, keeps results/
#
# Each target makes the virtual environment it needs. PYTHON chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: study test check conformance bench ulp clean scoreboard

study: $(VENV)/studies.stamp
	$(BIN)/taper study all --out results

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(JOBS) -q

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) -q

conformance: scoreboard $(VENV)/dev.stamp
	$(BIN)/python "$(CONFORMANCE)/inventory.py" --against taper --path . --no-lists
	$(BIN)/python "$(CONFORMANCE)/opinfo.py" --against taper --path . --quick --jobs $(JOBS)
	$(BIN)/python "$(CONFORMANCE)/modules.py" --against taper --path . --quick --jobs $(JOBS)

# Looked for before the environment with PyTorch is built, which takes minutes.
scoreboard:
	@test -f "$(CONFORMANCE)/inventory.py" || { \
	  echo "make conformance: no scoreboard at CONFORMANCE='$(CONFORMANCE)'." >&2; \
	  echo "Name the folder that has inventory.py, opinfo.py and modules.py:" >&2; \
	  echo "  make conformance CONFORMANCE=/path/to/conformance" >&2; exit 2; }

bench: $(VENV)/dev.stamp
	@for file in benchmarks/*.py; do \
	  case $$file in */_*|*"*"*) continue;; esac; \
	  echo "== $$file"; $(BIN)/python $$file || exit 1; \
	done

ulp: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/_ulp.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find taper tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: which extras the environment has. Made again when pyproject.toml changes.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/studies.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[studies]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[studies,test]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
