PYTHON ?= python3
BIN := .venv/bin
SUITE := pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: audit bench browser demo dist docs lint test test-slow test-minimum version

# Reinstalls only when setup.cfg changes.
.venv/installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Known vulnerabilities of all that is installed; a package that the database cannot be asked about is a failure.
audit: .venv/installed
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^ ]*//' > .venv/frozen.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement .venv/frozen.txt

# On all cores, and long: `make bench groups='[imports,attacks]'` runs some groups.
bench: .venv/installed
	env -u OMP_NUM_THREADS $(BIN)/python -m benchmarks $(if $(groups),--groups='$(groups)')

browser:
	.ci/browser

demo: .venv/installed
	$(BIN)/art-mi demo

# Source archive and wheel, in dist/.
dist: .venv/installed
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

docs: .venv/installed docs/_build/executed
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --jobs auto docs docs/_build/html

# What pages printed is kept for as long as the code they ran stays.
docs/_build/executed: docs/digits.py $(shell find art_mi -name '*.py' -o -name '*.jinja')
	rm -rf docs/_build
	mkdir -p docs/_build
	touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml art_mi benchmarks experiments

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m $(SUITE)

# Hours: what breaks only when tried often, counted for docs/reliability.md, then experiments from beginning to end.
test-slow: .venv/installed
	OMP_NUM_THREADS=1 ART_MI_COUNTS=tests/reliability/counts.json \
		$(BIN)/python -m pytest tests/reliability -m "slow or not slow" --numprocesses auto
	$(BIN)/python tests/reliability/page.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --ignore tests/reliability --numprocesses auto

# The suite with the lowest version of each dependency: `make test-minimum PYTHON=python3.10`. What these old versions
# deprecate of one another is not ours to mend.
test-minimum:
	test -x .venv-minimum/bin/python || $(PYTHON) -m venv .venv-minimum
	$(PYTHON) .ci/minimum.py > .venv-minimum/constraints.txt
	.venv-minimum/bin/python -m pip install --quiet --constraint .venv-minimum/constraints.txt --editable '.[test]'
	OMP_NUM_THREADS=1 .venv-minimum/bin/python -m $(SUITE) -W ignore::DeprecationWarning \
		-W 'ignore:The epoch parameter:UserWarning' -W 'ignore:Skipping serialization:UserWarning'

# A release's tag names the version: `make version tag=v0.1.0`.
version:
	test "v$$(sed -n 's/^version = //p' setup.cfg)" = "$(or $(tag),$(GITHUB_REF_NAME))"
