# `make search` and `make test` need Python 3.11+, git and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: search test test-long test-browser test-chaos test-cluster test-slow notebooks lint check format clean

search: .venv/installed
	$(BIN)/python -m trainables.search --space full_ablation

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser and not chaos and not cluster and not long"

# Trains variants of the bundled model for minutes, on all cores.
test-long: .venv/installed
	$(BIN)/python -m pytest -m long

# Opens a report in Debian's chromium; says so and passes where there is none.
test-browser: .venv/installed
	$(BIN)/python -m pytest -m browser -rs

# Kills searches over and over, at every failpoint: minutes. Says which tests it passes over for want of root.
test-chaos: .venv/installed
	$(BIN)/python -m pytest -n 3 --maxschedchunk 1 -m chaos -rs

# Starts clusters by Ray's launcher, on hosts that are namespaces of this machine; says so and passes where it may not.
test-cluster: .venv/installed
	$(BIN)/python -m pytest -m cluster -rs

# test-long and test-cluster side by side: one of them computes, the other one waits.
test-slow: .venv/installed
	$(BIN)/python -m pytest -n 2 --maxschedchunk 1 -m "long or cluster" -rs

# Runs the notebooks on their example study and keeps what they show.
notebooks: .venv/installed
	$(BIN)/python -m analysis.notebooks.execute

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Parts of every package that train next to nothing and start no Ray.
QUICK := tests/minbert/corpora tests/test_techniques_page.py \
    $(patsubst %,tests/minbert/test_%.py,heads losses samplers encoder smart surgery config canonical yaml_reader checkpoint multitask) \
    $(patsubst %,tests/trainables/test_%.py,designs ledger one_factor journal) \
    $(patsubst %,tests/analysis/test_%.py,study_reading intervals significance main_effects one_factor leaderboard submission)

# Before a commit: formatting, lint, types and the quick part of the tests, in under two minutes.
check: lint
	$(BIN)/python -m pytest -n 2 -q $(QUICK)

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
