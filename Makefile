# heald: two commands matter, `make run` (the live demo) and `make test` (everything that is checked).

# On a build server the target directory lies beside the clone, so that the next clean clone finds the dependencies built.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/heald/target
endif
export RUST_BACKTRACE ?= 1

LISTEN ?= 127.0.0.1:8000

.PHONY: run test soak bench fuzz lint setup

run: setup
	cargo build --release --locked -p heald
	"$${CARGO_TARGET_DIR:-target}/release/heald" demo --listen $(LISTEN)

test: lint
	cargo test --locked --manifest-path plugins/Cargo.toml
	cargo test --locked --workspace

# The long and random ones in full: a thousand kills of the runtime, ten thousand simulated scenarios.
soak: setup
	HEALD_SOAK=full HEALD_SIM_SEEDS=10000 cargo test --locked --workspace -- --nocapture

# Each fuzz target for so many seconds; tests/fuzz/README.md says what they try.
FUZZ_SECONDS ?= 60
fuzz: setup
	for target in load schema metadata configuration answers; do \
	  tests/fuzz/run.sh $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: setup
	cargo bench --locked -p heald-benches

lint: setup
	cargo fmt --all --check
	cargo fmt --manifest-path plugins/Cargo.toml --all --check
	cargo fmt --manifest-path tests/guests/Cargo.toml --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo fmt --manifest-path tests/fuzz/guest/Cargo.toml --all --check
	cargo clippy --locked --manifest-path plugins/Cargo.toml --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets -- -D warnings

setup:
	@tests/setup.sh
