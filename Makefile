# Where torch comes from, and nothing else. The default is PyTorch's CPU build; for a GPU give
# https://download.pytorch.org/whl/cu130; empty leaves torch too to the machine's own pip configuration.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PYTHON ?= python3
# Processes that run the tests.
JOBS ?= auto

# $(call install-torch,VENV): takes torch from TORCH_INDEX, and says so in one line where that cannot be reached; the
# variables keep other sources that pip is configured with out of these two calls. An index that answers but lacks this
# version of torch is an error.
TORCH = $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock)
install-torch = $(if $(and $(TORCH_INDEX),$(TORCH)),@export PIP_EXTRA_INDEX_URL='$(TORCH_INDEX)' PIP_FIND_LINKS='$1'; \
	if $1/bin/pip index versions torch --disable-pip-version-check --retries 0 --timeout 5 \
		--index-url '$(TORCH_INDEX)' >/dev/null 2>&1; then \
		echo "$(TORCH) from $(TORCH_INDEX)"; \
		$1/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --index-url '$(TORCH_INDEX)' '$(TORCH)'; \
	else echo "$(TORCH_INDEX) cannot be reached: torch comes from where pip takes everything else" >&2; fi)

BIN := .venv/bin
RUN := runs/demo
LIBRARY := runs/demo-library
INSTALLED := .venv/.installed

.PHONY: coverage demo docs lint test test-all test-page test-slow test-wheel benchmark-accuracy clean
.DELETE_ON_ERROR:

demo: $(RUN)/report.html $(LIBRARY)/manifest.json
	@echo
	@echo "An unknown sample, from its spectra alone (examples/unknown):"
	@$(BIN)/molchord search $(RUN) $(LIBRARY) --ir examples/unknown/ir.csv --raman examples/unknown/raman.csv \
		--msms examples/unknown/msms.mgf --k 5
	@echo
	@echo "The answer is in examples/unknown/README.md. The run is in $(RUN), the report in $(RUN)/report.html."
	@echo "Three commands to try next:"
	@echo "  $(BIN)/molchord search $(RUN) $(LIBRARY) --raman examples/unknown/raman.csv --mass 146.0368"
	@echo "  $(BIN)/molchord graph check --explain recipes/demo.yaml"
	@echo "  $(BIN)/molchord plugins list"

# A training that was interrupted goes on where it stopped; before its first checkpoint there is nothing to go on with.
# What is installed comes first but does not count: a later set-up trains nothing anew.
$(RUN)/report.html: | $(INSTALLED)
	@if [ -e $(RUN)/checkpoints/last.safetensors ]; then $(BIN)/molchord train --resume $(RUN); \
		else $(BIN)/molchord train recipes/demo.yaml --data datasets/demo --out $(RUN) --force; fi
	@$(BIN)/molchord evaluate $(RUN) --pool test --pool all --force

$(LIBRARY)/manifest.json: $(RUN)/report.html | $(INSTALLED)
	@$(BIN)/molchord embed $(RUN) datasets/demo --out $(LIBRARY) --force

# Tests run in as many processes as there are cores: threads of their own would only wait for each other.
test test-all test-page test-slow coverage: export OMP_NUM_THREADS ?= 1

test: $(INSTALLED)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m 'not slow and not page' -q
	@$(MAKE) --no-print-directory lint

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell core plugins recipes examples datasets/*.py docs *.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q

# Which lines no test runs; tests take a sixth longer under it.
coverage: $(INSTALLED)
	$(BIN)/pytest -n $(JOBS) -m 'not slow and not page' --cov --cov-report=term:skip-covered --cov-fail-under=90 -q

# What installs packages, kills programs and runs whole pages: wheels, `torchrun`, Ray, the tutorial, the examples.
test-slow: $(INSTALLED)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m slow -q

# Both in one call, the slow ones first: no core waits for the last of them.
test-all: $(INSTALLED)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m 'not page' -q

# The page of `molchord open` in a browser; skipped where there is no Chromium.
test-page: $(INSTALLED)
	$(BIN)/pytest -m page -q tests/page

# The documentation, as it is read: http://127.0.0.1:8000
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The same wheel test with the package index in reach: everything is fetched into an empty environment.
test-wheel: $(INSTALLED)
	rm -rf dist && $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . && $(PYTHON) -m venv dist/venv
	$(call install-torch,dist/venv)
	dist/venv/bin/pip install dist/*.whl
	cd dist && venv/bin/molchord plugins check

# Every table of benchmarks/RESULTS.md that fits into so many minutes and whose data is there, or those named in TABLES;
# what was measured or trained before is kept.
MINUTES ?= 60
benchmark-accuracy: $(INSTALLED)
	$(BIN)/python -m benchmarks.accuracy $(TABLES) --within $(MINUTES)
	$(BIN)/python -m benchmarks.report

# Packages whose own pins the lock file contradicts, and which work with it: installed without what they ask for.
NO_DEPS := $(wildcard requirements-no-deps.lock)

# Nothing is compiled that is never imported: pip would compile every file of every package, on one core.
PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check --no-compile --retries 1

# pip's errors are shown; its warnings name every package that one of several indexes lacks.
$(INSTALLED): requirements.lock $(NO_DEPS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "molchord needs Python 3.11 or newer, and" \
		"$(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1); write make PYTHON=python3.12, for instance" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(call install-torch,.venv)
	$(PIP_INSTALL) -qq -r requirements.lock
	$(if $(NO_DEPS),$(PIP_INSTALL) -qq --no-deps -r $(NO_DEPS))
	$(PIP_INSTALL) --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv runs dist datasets/*/derived
