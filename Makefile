# Two words do everything: `make demo` and `make test`. Each makes .venv and installs what it needs from the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Side by side, a file at a time: most tests wait for processes more than they compute. In the order of collection, which
# has the longest first (tests/conftest.py); xdist would begin with the files of most tests.
SIDE_BY_SIDE := -n $(or $(PROCESSES),3) --dist loadfile --no-loadscope-reorder

.PHONY: demo test survival real-data quick check format up install clean bench-training bench-cache bench-throughput bench-serving bench-monitoring bench-decisions

demo: install  ## the whole loop on this machine, in a few minutes
	$(BIN)/kedge demo $(ARGS)

test: check  ## every test, with the checks; PROCESSES=1 one after the other
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not real_data and not survival" $(ARGS)

# Apart, because it takes minutes, and a quiet machine; shorter forms of most of it are in `make test`.
survival: install  ## kills, outages, full disks, slow and hostile callers; about four minutes
	$(BIN)/python -m pytest -m survival -s $(ARGS)

# Apart, because its training is bounded by minutes: on a busy machine it learns less, and may rightly be refused.
real-data: install  ## the story on real camera images, where they lie beside the project; about ten minutes
	$(BIN)/python -m pytest -m real_data -s $(ARGS)

quick: install  ## the tests that take seconds
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not real_data and not demo" $(ARGS)

check: install  ## style, types, the compose file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench-training: install  ## training beside its rivals; ARGS="--data FOLDER --fastai", and the same again to go on
	$(BIN)/python -m tests.benchmarks.training $(ARGS)

bench-cache: install  ## what the cache of frozen layers saves; about five minutes
	$(BIN)/python -m tests.benchmarks.cache

bench-throughput: install  ## training images per second, where there is a GPU
	$(BIN)/python -m tests.benchmarks.throughput

bench-serving: install  ## what a request costs, beside its rivals; about twelve minutes, ARGS=--quick: one short round
	$(BIN)/python -m tests.benchmarks.serving $(ARGS)

bench-monitoring: install  ## what the watch finds and costs, beside its rivals; ARGS="--data FOLDER", ARGS=--quick
	$(BIN)/python -m tests.benchmarks.monitoring $(ARGS)

bench-decisions: install  ## what decisions come to, beside other triggers; ARGS="--data FOLDER", ARGS="--only simulation"
	$(BIN)/python -m tests.benchmarks.decisions $(ARGS)

format: install  ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: install  ## serve the project in this folder
	$(BIN)/kedge up

install: $(INSTALLED)

# The stamp is written last, so that an installation that was broken off is begun again.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Kedge needs Python 3.11 or newer; found ' + sys.version.split()[0] + '. Try: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)

clean:  ## remove the environment and what checks leave behind; keeps every project's data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
