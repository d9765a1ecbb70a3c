# Short recipes; `make` alone lists them. Needs Rust, a C compiler, make, and Python 3.13 or newer for the local BigQuery.

CARGO ?= cargo
PREFIX ?= /usr/local
TOOLS := bq-snap bq-run bq-count bq-check bq-restore
# Where cargo puts what it builds, also when CARGO_TARGET_DIR says so.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
# What the tests held against Google's definition of BigQuery, one line a process and gateway.
LEDGER := $(abspath $(TARGET))/conformance.jsonl
# Tests wait for each other's local BigQuery now and then: one test more than there are processors.
export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))

.PHONY: help demo test soak fuzz check build release install uninstall clean needs
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: build ## a migration accepted, and bad ones rolled back, on a local BigQuery
	@PATH="$(abspath $(TARGET))/debug:$$PATH" bq-local -- sh examples/diagnostic/demo.sh

test: needs build ## everything: unit tests, transcripts, the line on a local BigQuery
	@rm -f "$(LEDGER)"
	BQ_CONFORMANCE_LEDGER="$(LEDGER)" $(CARGO) test --workspace --locked
	@"$(TARGET)/debug/bq-conformance" "$(LEDGER)"

soak: needs ## random crashes and faults, for SECONDS=60 of them, or SEED=N once more
	SOAK_SECONDS="$(or $(SECONDS),60)" SOAK_SEED="$(SEED)" $(CARGO) test --locked -q -p tests --test suite crash::soak

fuzz: needs ## random scripts and parameters, FUZZ=1000000 of them, or SEED=N once more
	FUZZ="$(FUZZ)" SEED="$(SEED)" $(CARGO) run --locked -q -p tests --example fuzz

check: needs ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p bqlib --features crash-points --locked -- -D warnings

build: needs
	@$(CARGO) build --workspace --bins --locked

release: needs ## the five programs, optimised, in target/release
	$(CARGO) build --release --locked $(TOOLS:%=--bin %)

install: release ## the five programs into $(PREFIX)/bin
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 $(TOOLS:%=$(TARGET)/release/%) "$(DESTDIR)$(PREFIX)/bin"

uninstall: ## removes them from there
	rm -f $(TOOLS:%="$(DESTDIR)$(PREFIX)/bin/%")

clean: ## removes what was built
	$(CARGO) clean

# Says what is missing before anything fails half way. (Python is looked for by bq-local, which says what to install.)
needs:
	@command -v $(CARGO) >/dev/null || { echo 'make: cargo is missing: install Rust 1.95 or newer (https://rustup.rs)' >&2; exit 2; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo 'make: a C compiler is missing: install gcc or clang' >&2; exit 2; }
