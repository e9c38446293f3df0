PYTHON ?= python3
BIN := .venv/bin

.PHONY: bench demo docs test test-long lint

# Reinstalls only when setup.cfg changes.
.venv/installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# On all cores, and long: `make bench groups='[imports,attacks]'` runs some groups.
bench: .venv/installed
	env -u OMP_NUM_THREADS $(BIN)/python -m benchmarks $(if $(groups),--groups='$(groups)')

demo: .venv/installed
	$(BIN)/art-mi demo

docs: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --jobs auto docs docs/_build/html

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Minutes to an hour: experiments from beginning to end.
test-long: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long --numprocesses auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
