# Everything runs in a virtual environment of its own; only Python (with venv) and make are needed.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 2

.PHONY: help demo notebooks test test-all test-versions test-openfhe lint docs docs-blocks docs-site docs-links bench bench-operations \
	bench-ratios bench-roofline bench-training bench-search bench-audit bench-study bench-utility bench-networks bench-scale bench-noninteractive bench-bootstrapping \
	peer-environments bench-peers clean
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/	/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python 3.10 or newer is needed; set PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "venv is missing: install it first (on Debian: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

demo: $(VENV)/.installed  ## Train on encrypted data and print what it costs
	$(BIN)/python examples/demo.py

notebooks: $(VENV)/.installed-dev  ## Execute the notebooks of examples/ and make pages of them
	OMP_NUM_THREADS=1 $(BIN)/python tests/notebooks.py

test: $(VENV)/.installed-dev  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

test-all: $(VENV)/.installed-dev  ## Run the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

test-versions: $(VENV)/.installed  ## Run the tests with the oldest and the newest versions found
	$(BIN)/python tests/versions.py

# OpenFHE has a wheel for CPython 3.10 alone; its environment has nothing to do with the others.
OPENFHE = .venv-openfhe310
.PHONY: openfhe-environment
openfhe-environment: VERSIONS = 3.10
openfhe-environment:
	@if ! test -e $(OPENFHE)/.installed; then for python in $(PYTHONS); do \
	  if $$python -m venv --clear $(OPENFHE) >/dev/null 2>&1 \
	    && $(OPENFHE)/bin/python -m pip install --quiet --editable '.[test,openfhe]'; \
	  then touch $(OPENFHE)/.installed; break; else rm -rf $(OPENFHE); fi; done; fi

test-openfhe: openfhe-environment  ## Test the backend that bootstraps, in an environment of Python 3.10
	@if test -e $(OPENFHE)/.installed; \
	then OMP_NUM_THREADS=$(JOBS) $(OPENFHE)/bin/python -m pytest tests/test_openfhe.py -m ""; \
	else echo "test-openfhe: skipped, there is no CPython 3.10 that OpenFHE can be installed for"; fi

lint: $(VENV)/.installed-dev  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: docs-blocks docs-site  ## Execute the documentation's code blocks, build it, check its links

docs-blocks: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --tb=short -p no:cacheprovider docs README.md

docs-site: $(VENV)/.installed-docs
	@start=$$(date +%s); \
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html \
	  && echo "built in $$(($$(date +%s) - start)) s"
	@$(BIN)/python tests/site_links.py docs/_build/html
	@echo docs/_build/html/index.html

docs-links: docs-site  ## Follow the documentation's links to other sites
	$(BIN)/linkchecker -f docs/linkcheckerrc docs/_build/html/index.html

bench: bench-ratios bench-operations bench-training bench-search  ## Speed against thresholds, then figures

bench-ratios: $(VENV)/.installed-bench  ## Operations and steps in units of SEAL's bare product, held to thresholds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -qs -o addopts= benchmarks/ratios.py --benchmark-columns=median,iqr,rounds

bench-roofline: $(VENV)/.installed  ## How far a step is from bare products, and where the rest goes
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/roofline.py

bench-operations: $(VENV)/.installed  ## What single operations cost
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/operations.py

bench-training: $(VENV)/.installed  ## Accuracy, seconds, memory on real data, one core
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training.py

bench-search: $(VENV)/.installed  ## A grid search on ciphertexts, two processes
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/search.py

bench-audit: $(VENV)/.installed  ## Attack trained models: with the noise claimed, and with half
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/audit.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/audit.py --noise 0.5

bench-utility: $(VENV)/.installed peer-environments  ## Accuracy at many epsilons beside other packages
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/utility.py --n-jobs $(JOBS)

bench-networks: $(VENV)/.installed peer-environments  ## The same for networks, and what they cost
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/network_utility.py --n-jobs $(JOBS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/network_training.py

bench-peers: .venv-concrete/.installed .venv-openfhe/.installed
bench-peers: $(VENV)/.installed-bench peer-environments  ## Seconds, bytes, memory beside others
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peers.py

peer-environments: .venv-diffprivlib/.installed .venv-opacus/.installed  ## Environments of other packages

# A peer that cannot be installed is left out. VERSIONS are the Pythons that it has wheels for, the
# first one found is taken; without, it has wheels for PYTHON.
PYENV_ROOT ?= $(HOME)/.pyenv
PYTHONS = $(foreach v,$(VERSIONS),python$(v) $(PYENV_ROOT)/versions/$(v).*/bin/python)
.venv-diffprivlib/.installed: PACKAGES = diffprivlib scikit-learn==1.7.2
.venv-opacus/.installed: PACKAGES = torch opacus
.venv-concrete/.installed: PACKAGES = concrete-ml==1.9.0
.venv-concrete/.installed: VERSIONS = 3.11 3.10
.venv-openfhe/.installed: PACKAGES = openfhe==1.6.1.0.22.4 numpy
.venv-openfhe/.installed: VERSIONS = 3.10
.venv-diffprivlib/.installed .venv-opacus/.installed .venv-concrete/.installed .venv-openfhe/.installed:
	@for python in $(or $(PYTHONS),$(PYTHON)); do \
	  if $$python -m venv --clear $(@D) >/dev/null 2>&1; then break; else rm -rf $(@D); fi; done; \
	if test -x $(@D)/bin/python && $(@D)/bin/python -m pip install --quiet $(PACKAGES); then touch $@; \
	  else echo "$(@D): left out, $(PACKAGES) cannot be installed$(VERSIONS:%=, Python %)"; \
	  rm -rf $(@D); fi

bench-noninteractive: $(VENV)/.installed  ## Steps that nobody interrupts: accuracy, seconds, memory
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/noninteractive.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/noninteractive.py --small
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/noninteractive.py --compare

bench-bootstrapping: $(VENV)/.installed openfhe-environment  ## Bootstrapped training: accuracy, seconds, memory
	@python=$(OPENFHE)/bin/python; test -e $(OPENFHE)/.installed || python=$(BIN)/python; \
	OMP_NUM_THREADS=1 $$python benchmarks/bootstrapping.py

bench-scale: $(VENV)/.installed  ## A million rows in files, one and two processes; how costs grow
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scale.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scale.py --growth

bench-study: $(VENV)/.installed  ## One change at a time to the defaults, on many sets (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/study.py --n-jobs $(JOBS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/study.py --networks --n-jobs $(JOBS)

clean:  ## Remove what was built
	rm -rf $(VENV) .venv-diffprivlib .venv-opacus .venv-concrete .venv-openfhe $(OPENFHE) build dist *.egg-info docs/_build .pytest_cache .ruff_cache .hypothesis
