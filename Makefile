# `make demo` runs the main job, `make test` the tests; both install what they need.
# One profile and one feature set for everything: Burn is compiled once.
CARGO := cargo
XCOMP := target/release/xcomp

.PHONY: demo build test check native

demo: build
	$(XCOMP) demo

build: native
	$(CARGO) build --release --workspace --bins

test: native
	$(CARGO) test --release --workspace

check: native
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

native:
	@scripts/native-libraries.sh
