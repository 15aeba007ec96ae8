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

# What the installed package is made of; `make` builds it anew when one of these is newer.
SOURCES := $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi') Cargo.toml Cargo.lock pyproject.toml README.md

.PHONY: help setup demo test test-rust test-python test-frameworks test-pythons bench lint format clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "ratekeeper needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet '.[demo]'
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/pip install --quiet --group dev --group frameworks
	touch $@

setup: $(VENV)/.installed ## make .venv with the package in it

demo: setup ## see 429s without ratekeeper, and none with it
	$(BIN)/ratekeeper demo

test: lint test-rust test-python test-frameworks test-pythons ## everything: lints, types, stubs, Rust, Python, frameworks, README

test-rust: ## the core, without Python
	cargo test --release --locked
	cargo test --release --locked --doc

test-python: $(VENV)/.tools ## the package
	$(BIN)/python -m pytest tests/python

test-frameworks: $(VENV)/.tools ## the real frameworks and SDKs against the fake provider
	$(BIN)/python -m pytest tests/frameworks

test-pythons: $(VENV)/.tools ## the package on the other interpreters that are here
	tests/pythons.sh $(BIN)

bench: $(VENV)/.tools ## the figures, side by side with others, as ratios
	$(BIN)/pip install --quiet --group bench
	$(BIN)/python -m tests.bench

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
	rm -rf $(VENV) target .mypy_cache .ruff_cache .pytest_cache .hypothesis
