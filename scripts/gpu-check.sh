#!/usr/bin/env bash
# Everything that only a GPU can show, in under nine minutes after the build: parity with the reference's vectors, seconds of a
# step of the real shapes beside PyTorch, and the demo's loss curve beside the processor's.
#
#   scripts/gpu-check.sh [--device cuda] [--baseline FILE]      builds with --features turbojpeg,cuda (about 20 minutes when cold)
#   scripts/gpu-check.sh --dry-run                              the same parts on the processor, with tiny sizes
#
# XCOMP, GOLDEN_LLM, GOLDEN_MODEL, DEVICE_ATTENTION and TINY_RUN name programs that are built already; then nothing is built.
# Exits with 1 where parity fails or the loss curves part; a part that cannot run says why, a part out of time is cut.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

device=cuda dry=0 baseline=${BASELINE:-../shared/perf/torch_baseline.py}
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2; shift 2 ;;
    --baseline) baseline=$2; shift 2 ;;
    --dry-run) dry=1 device=cpu; shift ;;
    *) echo "gpu-check: unknown argument $1" >&2; exit 2 ;;
  esac
done
features=(--features "${FEATURES:-turbojpeg}")
if [ "$dry" = 0 ]; then features+=(--features cuda); fi

target=${CARGO_TARGET_DIR:-target}
# shellcheck source=scripts/device-parts.sh
source scripts/device-parts.sh
build() {
  cargo build --release --workspace --bins "${features[@]}" &&
    cargo test --release --workspace "${features[@]}" --test golden_llm --test golden_model --test device_attention --no-run 2>&1 | tee "$work/build.log"
}
if [ -z "${XCOMP:-}" ]; then
  build || { echo "gpu-check: the build failed" >&2; exit 1; }
  XCOMP=$target/release/xcomp TINY_RUN=$target/release/tiny-run
  GOLDEN_LLM=$(test_program golden_llm) GOLDEN_MODEL=$(test_program golden_model) DEVICE_ATTENTION=$(test_program device_attention)
fi
began=$SECONDS

part "machine"
date -u +%Y-%m-%d
"$XCOMP" doctor
if command -v nvidia-smi >/dev/null; then nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; fi

part "parity with the reference on $device: relative difference of loss and of all gradients"
parity() { # name, program, test
  if [ -z "$2" ] || [ ! -x "$2" ]; then fail "$1: its program is not there"; return; fi
  XCOMP_TEST_DEVICE=$device XCOMP_GOLDEN=${XCOMP_GOLDEN:-$PWD/tests/golden} within 100 "$1" "$2" --exact "$3" --nocapture >"$work/$3.log" 2>&1
  local code=$?
  grep -oE '(PARITY|ATTENTION) .*' "$work/$3.log"
  if [ "$code" != 0 ]; then grep -vE '^(PARITY|ATTENTION)' "$work/$3.log" | tail -5; fail "$1"; fi
}
# First: a wrong kernel of attention makes everything behind it wrong.
parity "attention, small shapes" "${DEVICE_ATTENTION:-}" small_shapes_of_every_kind_are_what_attention_is
parity "attention, real shapes" "${DEVICE_ATTENTION:-}" real_shapes_are_those_of_the_processor_and_make_no_matrix_of_scores
parity "decoder and LP-Comp (e, f)" "${GOLDEN_LLM:-}" ef_on_the_chosen_device
parity "whole model (g)" "${GOLDEN_MODEL:-}" g_on_the_chosen_device

recipe=recipes/bench-2b.toml frames=128,256,512,1024 steps=3 preset=full
if [ "$dry" = 1 ]; then recipe=recipes/bench-cpu.toml frames=8,16 steps=1 preset=tiny; fi
part "a training step, ours: $recipe"
bench() { within "$1" "bench $2" "$XCOMP" bench "$recipe" --device "$device" --frames "$frames" --steps "$steps" --warmup 1 --profile "${@:3}"; }
bench 80 cached --cached
bench 130 full

part "a training step, PyTorch"
torch() {
  for count in ${frames//,/ }; do
    within "$1" "torch $count" python3 "$baseline" --preset "$preset" --device "${device%%:*}" --frames "$count" --steps "$steps" --warmup 1 --head sup "${@:2}" >"$work/torch.json" &&
      python3 - "$work/torch.json" <<'PYTHON'
import json, sys
row = json.load(open(sys.argv[1]))
print("{frames:6} {cached!s:>6} step {wall_ms_per_sample:9.1f} ms: vision {vision_ms:.1f}, forward {forward_ms:.1f}, backward {backward_ms:.1f}, "
      "optimizer {optimizer_ms_per_step:.1f}; {samples_per_s:.2f} smp/s, {peak_gib} GiB, torch {torch} on {device}".format(**row))
PYTHON
  done
}
if ! python3 -c 'import torch' 2>/dev/null; then
  not_run "PyTorch" "python3 has no torch"
elif [ ! -f "$baseline" ]; then
  not_run "PyTorch" "$baseline is not there; name it with --baseline"
else
  torch 20 --cached
  torch 25
fi

part "loss over the first steps, cpu and $device"
if [ "$dry" = 1 ]; then
  if "$TINY_RUN" "$work/tiny"; then curve "$work/tiny/recipe.toml" 4; else fail "loss curve: no material"; fi
elif within 120 "demo" "$XCOMP" demo --out "$work/demo" --device cpu >"$work/demo.log" 2>&1; then
  curve "$work/demo/demo.toml" 50
else
  not_run "loss curve" "$(tail -1 "$work/demo.log")"
fi

echo
echo "gpu-check: $failed parts failed, $((SECONDS - began)) s after the build"
[ "$failed" = 0 ]
