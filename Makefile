# make repro · make test · make lint: each makes .venv first if it is missing.
PYTHONS := 3.13 3.12 3.11
PYTHON ?= $(shell for version in $(PYTHONS); do \
	python$$version -c 'import ensurepip' 2>/dev/null && echo python$$version && break; done)
WORKERS ?= 2
SYSTEM_FILE ?= dvc.yaml
SYSTEM ?= mnist-small
BROWSER := chromium chromium-driver fonts-dejavu-core

BIN := .venv/bin
STAMP := .venv/.installed
TEXT := .venv/.text
# Stages are `python -m stages.…`: they find the environment's interpreter through PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help setup repro demo recording bench test test-slow browser screenshot lint format tables transcripts lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with the pinned versions

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())' || \
		{ echo "one of Python $(PYTHONS) is needed, and $(if $(PYTHON),'$(PYTHON)' is not,none was found); name one:" \
			"make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]' --constraint requirements.lock
	touch $@

$(TEXT): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[text]' --constraint requirements.lock
	touch $@

repro: $(STAMP) ## run the pipeline; SYSTEM_FILE=pipelines/<system>/dvc.yaml for another system
	$(BIN)/dvc repro $(SYSTEM_FILE)

demo: $(STAMP) ## a page that draws in the browser, of SYSTEM; trains its generator first where there is none
	test -d models/$(SYSTEM)/generator || \
		$(BIN)/dvc repro $(if $(filter mnist-small,$(SYSTEM)),dvc.yaml,pipelines/$(SYSTEM)/dvc.yaml):distill
	$(BIN)/dmd demo build $(SYSTEM)
	$(BIN)/dmd demo serve

recording: browser ## docs/demo.webp, the page that `make demo` built, on a walk
	$(BIN)/python -m tools.record_demo

bench: $(STAMP) ## measure against the floor and against public libraries; writes benchmarks/results and the pages that show it
	$(BIN)/python -m benchmarks
	$(BIN)/python -m tools.tables

test: $(TEXT) browser ## the tests, without those marked slow or gpu
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow and not gpu"

browser: ## Chromium for the tests of pages, from Debian's packages, where it is missing
	@if { command -v chromium || command -v google-chrome; } >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else \
		echo "neither root nor sudo: install $(BROWSER), or the tests of pages are skipped"; exit 0; fi; \
	$$as apt-get -qq update && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $(BROWSER) >/dev/null || \
		echo "apt-get has not installed $(BROWSER): the tests of pages are skipped"

screenshot: browser ## docs/report.png, the top of metrics/$(SYSTEM)/report.html
	$$(command -v chromium || command -v google-chrome) --headless --no-sandbox --disable-gpu --hide-scrollbars \
		--window-size=900,1000 --screenshot=docs/report.png file://$(CURDIR)/metrics/$(SYSTEM)/report.html
	$(BIN)/python -c "from PIL import Image; p = 'docs/report.png'; Image.open(p).convert('RGB').quantize(128).save(p, optimize=True)"

test-slow: $(TEXT) ## the tests marked slow, and those marked gpu where there is a CUDA device
	$(BIN)/python -m pytest -q -m "slow or gpu"

lint: $(STAMP) ## style, types, import directions, and whether dvc.lock agrees with the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.tables --check
	$(BIN)/python -m tools.plots --check
	$(BIN)/python -m tools.check_lock

format: $(STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: $(STAMP) ## write the tables of README.md and docs/, and docs/results/data/plots, from the files of runs
	$(BIN)/python -m tools.tables
	$(BIN)/python -m tools.plots

transcripts: $(STAMP) ## run the commands that docs/results shows, and write what they print; after `make repro`, before a commit
	$(BIN)/python -m tools.transcripts

lock: $(STAMP) ## pin again, from pyproject.toml; versions already pinned stay
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --extra dev --extra remotes --extra text --strip-extras --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --no-emit-options --output-file requirements.lock pyproject.toml
	touch $(STAMP)

clean: ## remove caches of tools; data, models and the environment stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find dmd stages tools benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
