# The two commands of the README. Both install what they need; see tests/setup for what that is.

.PHONY: run test lint bench

# Builds Meltemi, starts it and stock Envoys on a bundled mesh, sends requests and shows where they went.
run:
	tests/setup envoy
	cargo build --release --bins
	target/release/meltemi-demo

# Everything that CI runs but the parity floors. One profile only, so that nothing is built twice.
test:
	tests/setup
	cargo build --release --workspace --bins
	cargo test --release --workspace

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets --release -- -D warnings

bench:
	cargo bench --workspace
