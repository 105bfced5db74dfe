# Everything runs in .venv, made from the locked dependencies on first use. PYTHON chooses the interpreter for it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: install demo test check style docs docs-test docs-serve dist test-lowest benchmarks benchmarks-check clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tl_toolkit needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev,export,translation,tuning,ray]'
	touch $@

demo: install
	$(BIN)/tl-toolkit compare --config demo.yaml --output_dir outputs/demo

# One thread a worker: two workers whose threads share two cores would wait for each other.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

style: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# The site in build/site. A link or reference that leads nowhere, or any other warning, is an error.
SPHINX = $(BIN)/python -m sphinx --fail-on-warning --keep-going --doctree-dir build/doctrees docs build/site

docs: $(VENV)/.docs
	$(SPHINX)

# The same with the outputs of the chapters of the course, which run if they have changed; their models are too small for
# a second thread to pay.
docs-test: $(VENV)/.docs
	DOCS_EXECUTION=cache OMP_NUM_THREADS=1 $(SPHINX)

docs-serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000

# Installs $(2) in a bare environment in $(1), and does there what a user does first, outside the checkout.
define smoke
	rm -rf $(1)
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --constraint $(3) torch
	$(1)/bin/python -m pip install --quiet --constraint $(3) $(2)
	mkdir $(1)/work
	cd $(1)/work && ../bin/python $(CURDIR)/.ci/smoke.py
endef

dist: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(call smoke,build/bare,dist/*.whl,constraints.txt)

# With the lowest versions that pyproject.toml allows.
test-lowest:
	mkdir -p build
	$(PYTHON) .ci/lowest.py > build/lowest.txt
	$(call smoke,build/lowest,.,build/lowest.txt)

# Each peer in an environment of its own; its file lists every package. torch first, with what it needs on this machine.
PEERS := $(patsubst benchmarks/peers/%.txt,build/peers/%/.installed,$(wildcard benchmarks/peers/*.txt))

build/peers/%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv build/peers/$*
	grep '^torch==' $< | xargs -r build/peers/$*/bin/python -m pip install --quiet
	build/peers/$*/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

# The table of speeds in docs/results.md; about half an hour of one core.
benchmarks: install $(PEERS)
	$(BIN)/python benchmarks/speed.py

# Compares the measured speeds with their floors.
benchmarks-check: install
	$(BIN)/python benchmarks/speed.py --check

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
