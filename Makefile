# `make search` and `make test` need Python 3.11+, git and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: search test test-long test-browser test-chaos notebooks check format clean

search: .venv/installed
	$(BIN)/python -m trainables.search --space full_ablation

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser and not chaos and not long"

# Trains variants of the bundled model for minutes, on all cores.
test-long: .venv/installed
	$(BIN)/python -m pytest -m long

# Opens a report in Debian's chromium; says so and passes where there is none.
test-browser: .venv/installed
	$(BIN)/python -m pytest -m browser -rs

# Kills searches over and over, at every failpoint: minutes.
test-chaos: .venv/installed
	$(BIN)/python -m pytest -n 2 --maxschedchunk 1 -m chaos

# Runs the notebooks on their example study and keeps what they show.
notebooks: .venv/installed
	$(BIN)/python -m analysis.notebooks.execute

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch first and by itself: pip then finds the CPU or CUDA build that its index or wheel folder offers.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv
