# Everything a newcomer and CI need; `make quickstart` and `make test` work on a fresh machine with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
JOBS ?= auto

.PHONY: install quickstart test test-all lint bench docs clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# torch first and in a step of its own, so that no other package can choose another build of it
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

install: .venv/installed

quickstart: install
	$(BIN)/radfoundry run frozen-probe --scale tiny --to quickstart

# One thread a process: the tests already use every core.
test test-all: export OMP_NUM_THREADS = 1
# Asserts as they stand: each process starts 9 s sooner. Those that failed are asked again, with the values compared.
test: install
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --assert=plain || { $(BIN)/python -m pytest --last-failed; false; }

test-all: install
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not gpu' --timeout 3600

lint: install
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check --no-cache src tests benchmarks
	$(BIN)/lint-imports --no-cache
	$(BIN)/ty check --error-on-warning
	$(BIN)/python -m pip check
	$(BIN)/radfoundry doctor

bench: install
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: install
	$(BIN)/python -m pytest tests/test_docs.py

clean:
	rm -rf .venv quickstart runs build dist src/*.egg-info
