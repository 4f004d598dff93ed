# `make demo` runs the main job, `make test` the tests; both install what they need.
# One profile and one feature set for everything: Burn is compiled once.
CARGO := cargo
FEATURES := turbojpeg
export FEATURES
XCOMP = $${CARGO_TARGET_DIR:-target}/release/xcomp

.PHONY: demo build test torture mpi-check check bench-data bench-cpu gpu-check vulkan-check page-check interop smollm2 native

demo: build
	$(XCOMP) demo

build: native
	$(CARGO) build --release --workspace --features "$(FEATURES)" --bins

test: native
	$(CARGO) test --release --workspace --features "$(FEATURES)"

# Kills a training process 200 times, inside steps and inside saves, and reads 10,000 annotations and mixtures of hostile pieces;
# the short forms are part of `make test`.
torture: native
	XCOMP_HOSTILE_CASES=10000 $(CARGO) test --release --workspace --features "$(FEATURES)" --test hostile --test hostile_yaml
	XCOMP_TORTURE=200 $(CARGO) test --release --workspace --features "$(FEATURES)" --test torture

# Ranks under MPI: the same bits on 1, 2 and 4 of them, whatever ends them. XCOMP_TORTURE=200 kills 50 ranks instead of 5.
MPI_FEATURES := $(FEATURES),xcomp-train/mpi,xcomp-tests/mpi
mpi-check:
	@scripts/native-libraries.sh mpi
	$(CARGO) clippy --release --workspace --features "$(MPI_FEATURES)" --all-targets -- -D warnings
	$(CARGO) build --release --workspace --features "$(MPI_FEATURES)" --bin xcomp-under-test
	$(CARGO) test --release --workspace --features "$(MPI_FEATURES)" --test peers

check: native
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --features "$(FEATURES)" --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --features "$(FEATURES)" --no-deps

# Decoding and resizing beside decord and PyAV (in a virtual environment of its own), and memory over 500 samples.
MEDIA ?= ../shared/media
ROUNDS ?= 3
bench-data: native
	$(CARGO) build --release --workspace --features "$(FEATURES)" --example bench_data
	scripts/bench-data.py $${CARGO_TARGET_DIR:-target}/release/examples/bench_data $(MEDIA) $(ROUNDS)

# A training step on the processor beside the same step in PyTorch (in a virtual environment of its own), interleaved.
BASELINE ?= ../shared/perf/torch_baseline.py
bench-cpu: build
	scripts/bench-cpu.py $${CARGO_TARGET_DIR:-target}/release/xcomp --baseline $(BASELINE) --rounds $${ROUNDS:-7}

# What only a GPU can show: parity, seconds of a step, the loss curve. `scripts/gpu-check.sh --dry-run` runs its parts on the processor.
gpu-check: native
	scripts/gpu-check.sh --baseline $(BASELINE)

# What a GPU would compute, on Mesa's driver in software: parity, attention, the first losses. About 25 minutes of building when cold.
vulkan-check:
	@scripts/native-libraries.sh vulkan
	scripts/vulkan-check.sh

# The page of a sweep in headless Chromium: nothing on its console, no other file asked for, nothing beside a narrow window.
page-check:
	@scripts/native-libraries.sh browser
	XCOMP_REQUIRE_BROWSER=1 $(CARGO) test --release --workspace --features "$(FEATURES)" --test budgets

# Exports of a tiny tuned model, loaded by transformers, PEFT, the safetensors package and candle.
interop: native
	tests/interop/run.sh

# Text from a real small language model in a Qwen2-shaped folder, beside transformers: make smollm2 FOLDER=...
smollm2: native
	tests/interop/smollm2.sh $(FOLDER)

native:
	@scripts/native-libraries.sh
