# Every target sets up what it needs, and says beforehand what it fetches. `make help` lists them.
# VENV, PYTHON and CARGO_TARGET_DIR may be given; a configured pip index is honoured.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
override VENV := $(abspath $(VENV))
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet
ORIGINAL := .cache/original
PEERS := .cache/peers
# Named after what was installed, not dated: an environment kept by CI outlives many clones.
hash = $(firstword $(shell sha256sum $(1)))
TORCH := $(VENV)/.torch-$(call hash,requirements/torch.txt)
DEV := $(VENV)/.dev-$(call hash,requirements/dev.txt)
NATIVE := .cache/native-$(notdir $(VENV))
NATIVE_SOURCES := Cargo.toml Cargo.lock pyproject.toml \
	$(shell find crates -name '*.rs' -o -name Cargo.toml 2>/dev/null)
# The native module links against the interpreter that loads it; test binaries of that crate cannot be linked.
RUST_TESTS := --workspace --exclude oss-python --locked
# The Python tests look at it, to count the rows of the fault matrix that tests in Rust inject.
RUST_PASSED := .cache/rust-tests-passed

export CARGO_TERM_COLOR ?= auto
export PYO3_PYTHON := $(PY)
export VIRTUAL_ENV := $(VENV)
export PATH := $(VENV)/bin:$(PATH)
unexport PYTHONHOME PYTHONPATH

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(TORCH):
	@python=$$(scripts/find-python)
	echo "make: fetching torch 2.13.0, torchvision and the libraries torch brings, into $(VENV) (about 2 GB from the pip index, 5 GB on disk)"
	[ -x $(PY) ] || "$$python" -m venv $(VENV)
	$(PIP) -r requirements/torch.txt
	touch $@

$(DEV): $(TORCH)
	@echo "make: fetching build, check and test tools, OSS SDKs, scikit-learn and the libraries that read oss:// paths, versions and hashes locked (about 230 MB)"
	$(PIP) --require-hashes -r requirements/dev.txt
	touch $@

.PHONY: toolchain
toolchain:
	@scripts/need-cargo

$(NATIVE): $(NATIVE_SOURCES) $(DEV) | toolchain
	@echo "make: building the native module (release; the first build fetches about 20 MB of crates and takes a few minutes)"
	maturin develop --release --locked --quiet
	mkdir -p $(@D) && touch $@

.PHONY: setup
setup: toolchain $(DEV) $(NATIVE) ## Make .venv, install what development needs, build the native module

.PHONY: original
original: $(ORIGINAL)/.tried

# A missing witness must not stop the tests: they skip, and say so.
$(ORIGINAL)/.tried: requirements/original.txt $(TORCH)
	@mkdir -p $(ORIGINAL)
	echo "make: fetching osstorchconnector 1.2.3, the vendor's package, as a witness beside the environment (3 MB)"
	$(PIP) --no-deps --upgrade --target $(ORIGINAL) -r requirements/original.txt \
		|| echo "make: WARNING: the vendor's package cannot be installed here; the tests that use it will be skipped"
	touch $@

.PHONY: peers
peers: $(PEERS)/.tried ## Fetch other packages for the same work, for the bench to compare with

$(PEERS)/.tried: requirements/peers.txt $(TORCH)
	@mkdir -p $(PEERS)
	echo "make: fetching obstore and s3torchconnector, to be measured beside the environment (30 MB)"
	$(PIP) --no-deps --upgrade --target $(PEERS) -r requirements/peers.txt \
		|| echo "make: WARNING: a peer cannot be installed here; none is measured"
	touch $@

.PHONY: demo
demo: setup ## Stream images into a training, break the network, kill a save, kill the training, go far: five acts, offline once installed
	@$(PY) examples/demo.py

.PHONY: test
test: setup original test-rust test-python guard ## Run all tests, Rust then Python, and the guard of speed

.PHONY: test-rust
test-rust: toolchain $(TORCH) ## Run the Rust tests
	@rm -f $(RUST_PASSED)
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run $(RUST_TESTS) --no-tests=pass --status-level=fail; \
	else \
		cargo test $(RUST_TESTS) --lib --bins --tests --quiet; \
	fi
	cargo test $(RUST_TESTS) --doc --quiet
	mkdir -p $(dir $(RUST_PASSED)) && touch $(RUST_PASSED)

.PHONY: test-python
test-python: setup original ## Run the Python tests (pass arguments with ARGS='-k name')
	@$(PY) -m pytest -m "not soak" $(ARGS)

.PHONY: soak
soak: setup original ## Run the long grid of tests too (over an hour): parsers, faults, sweeps
	@export OSS_MUTATION_SECONDS=$${OSS_MUTATION_SECONDS:-60}
	echo "make: giving each parser $$OSS_MUTATION_SECONDS s of inputs that nobody has seen before"
	cargo test --release -p oss-client --locked --test corpus -- --nocapture
	scripts/fuzz
	cargo test --release -p oss-client --locked --lib -- --ignored
	scripts/models
	scripts/sanitize
	$(PY) -m pytest --timeout 600 $(ARGS)

.PHONY: check
check: check-rust check-python ## Check format, lints, types, the native stub and the import contracts

.PHONY: check-rust
check-rust: toolchain $(TORCH)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	cargo fmt --check --manifest-path benches/raw-client/Cargo.toml
	cargo clippy --manifest-path benches/raw-client/Cargo.toml --all-targets --locked --quiet -- -D warnings
	cargo fmt --check --manifest-path fuzz/Cargo.toml

.PHONY: check-python
check-python: setup
	$(VENV)/bin/ruff check --quiet
	$(VENV)/bin/ruff format --check --quiet
	$(VENV)/bin/mypy --strict
	$(PY) -m mypy.stubtest osstorchconnector._native
	$(VENV)/bin/lint-imports --no-logo

.PHONY: format
format: toolchain $(DEV) ## Format all code and mend what the linter can mend
	cargo fmt --all
	$(VENV)/bin/ruff check --fix --quiet || true
	$(VENV)/bin/ruff format --quiet

.PHONY: bench
bench: setup ## Measure against the limit of this machine (nginx; about five minutes, 5 GB of memory)
	@$(PY) benches/run.py $(ARGS)

.PHONY: bench-quick
bench-quick: setup ## The same, smaller and rougher (under a minute)
	@$(PY) benches/run.py --quick $(ARGS)

.PHONY: bench-witness
bench-witness: setup ## Ask wrk whether the raw limit is an honest one (three minutes)
	@$(PY) benches/witness.py $(ARGS)

.PHONY: performance
performance: setup original peers ## Measure all that docs/performance.md shows, and write its tables and pictures (20 minutes, 14 GB of memory)
	@$(PY) benches/performance.py $(ARGS)

.PHONY: guard
guard: setup ## Fail if reading has become clearly slower: ours against a raw client, and instruction counts (nginx, valgrind)
	@$(PY) benches/guard.py
	$(PY) benches/instructions.py
	$(PY) benches/counting.py

.PHONY: wheel
wheel: toolchain $(DEV) ## Build the wheel into dist/ and try it in a clean environment without Rust
	rm -rf dist
	maturin build --release --locked --quiet --out dist --interpreter $(PY)
	$(PY) scripts/try_wheel.py dist

.PHONY: wheels
wheels: toolchain $(DEV) ## Build the wheels for other machines into dist/ (glibc 2.17): for Python 3.10, and one for 3.11 on
	@echo "make: fetching zig, which links for an old glibc (90 MB)"
	$(PIP) --require-hashes -r requirements/wheels.txt
	rm -rf dist
	scripts/build-wheels dist

.PHONY: compat
compat: setup original ## Run the Python tests with the oldest torch that this Python can install, and the newest (6 GB of disk)
	@unset VIRTUAL_ENV
	scripts/compat $(ARGS)

.PHONY: licences
licences: toolchain $(DEV) ## Rewrite THIRD-PARTY-LICENSES.txt from Cargo.lock
	@$(PY) scripts/third_party.py --write

.PHONY: sbom
sbom: toolchain $(DEV) ## Write the bill of materials of this tree, as CycloneDX, into dist/
	@$(PY) scripts/sbom.py dist/osstorchconnector.cdx.json

.PHONY: audit
audit: toolchain $(DEV) ## Compare licences; look for known holes in what is built in and built with (needs the internet)
	@$(PY) scripts/third_party.py
	if cargo deny --version >/dev/null 2>&1; then
		cargo deny --locked check licenses bans sources
		if cargo deny --locked fetch db >/dev/null 2>&1; then
			cargo deny --locked check advisories
		else
			echo "audit: WARNING: the crates' known holes were not looked for: their data (github.com/RustSec) cannot be reached"
		fi
	else
		echo "audit: WARNING: cargo-deny is not installed, the crates' known holes were not looked for (cargo install --locked cargo-deny)"
	fi
	$(PY) -m venv .cache/audit
	.cache/audit/bin/python -m pip install --disable-pip-version-check --quiet -r requirements/audit.txt || true
	$(PY) scripts/audit_packages.py .cache/audit/bin/pip-audit

.PHONY: docs
docs: setup original ## Regenerate what tests write into the pages; build the site (site/) and the Rust reference
	OSSTORCHCONNECTOR_WRITE_DOCS=1 $(PY) -m pytest -n 0 -k "errors_page or configuration_page or list_of_differences"
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict
	cargo doc --workspace --no-deps --locked --quiet

.PHONY: lock
lock: $(TORCH) ## Resolve requirements/dev.in anew into dev.txt, for every supported Python
	@$(PY) -m venv .cache/lock && .cache/lock/bin/python -m pip install --quiet uv
	.cache/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
		--custom-compile-command "make lock" --override requirements/apart.txt \
		requirements/dev.in --output-file requirements/dev.txt

.PHONY: clean
clean: ## Remove builds and caches; keep .venv
	rm -rf target benches/raw-client/target fuzz/target fuzz/corpus dist site .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f python/osstorchconnector/_native*.so
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
