#!/usr/bin/env bash
# What a GPU would compute, on a driver that every machine has: Mesa's, in software. The same tensor program runs as on a card, and
# as WGSL the same kernels, but for those that need a card's matrix or plane instructions: products of matrices come of the unit
# routines, attention of products and softmax.
#
#   scripts/vulkan-check.sh [--device vulkan:cpu]     builds with --features turbojpeg,wgpu-untuned (about 25 minutes when cold on two cores)
#
# Exits with 1 where a number is too far off; a part out of time is cut and counts as failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

device=vulkan:cpu
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2; shift 2 ;;
    *) echo "vulkan-check: unknown argument $1" >&2; exit 2 ;;
  esac
done
# One feature set for each folder of builds.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/untuned}
# shellcheck source=scripts/device-parts.sh
source scripts/device-parts.sh

# Without autotune: on this driver each kernel takes 3 to 11 s to compile, and autotune would try many for every size.
features=(--features "${FEATURES:-turbojpeg},wgpu-untuned")
tests=(device_ops device_attention golden_vision golden_llm golden_model golden_inference)
cargo build --release --workspace --bins "${features[@]}" &&
  cargo test --release --workspace "${features[@]}" "${tests[@]/#/--test=}" --no-run 2>&1 | tee "$work/build.log" ||
  { echo "vulkan-check: the build failed" >&2; exit 1; }
XCOMP=$CARGO_TARGET_DIR/release/xcomp
began=$SECONDS

# Waits without a time limit, and machine code that is made fast and runs slowly: scripts/patient-waits/layer.c says why.
gcc -O2 -fPIC -shared -fvisibility=hidden -o "$work/libpatient_waits.so" scripts/patient-waits/layer.c ||
  { echo "vulkan-check: the layer does not compile" >&2; exit 1; }
cp scripts/patient-waits/layer.json "$work/"
export VK_ADD_LAYER_PATH=$work VK_LAYER_PATH=$work VK_INSTANCE_LAYERS=VK_LAYER_XCOMP_patient_waits GALLIVM_PERF=nopt

part "machine"
date -u +%Y-%m-%d
"$XCOMP" doctor

golden=${XCOMP_GOLDEN:-}
if [ -z "$golden" ] && [ -d ../shared/golden ]; then golden=$PWD/../shared/golden; fi
check() { # seconds, test program, what it shows
  local program at=$PWD
  program=$(test_program "$2")
  part "$3"
  if [ ! -x "$program" ]; then fail "$2: its program is not there"; return; fi
  (cd "$work" && XCOMP_TEST_DEVICE=$device XCOMP_GOLDEN=${golden:-$at/tests/golden} \
    within "$1" "$2" "$at/$program" --test-threads 1 --nocapture >"$work/$2.log" 2>&1)
  local code=$?
  grep -E '^(PARITY|ATTENTION|CUT|test result)' "$work/$2.log"
  if [ "$code" != 0 ]; then grep -vE '^(PARITY|ATTENTION)' "$work/$2.log" | tail -12; fail "$2"; fi
}
check 600 device_ops "single operations, values and gradients"
check 1800 device_attention "attention, small shapes and those of the real models"
check 900 golden_vision "tower, token merging, connector (b, c, d): tolerances of the processor's tests"
check 1800 golden_llm "decoder and LP-Comp (e, f): tolerances of the processor's tests"
check 900 golden_model "whole models (g)"
check 900 golden_inference "answers and scores of frames (k)"

part "loss over the first 20 steps, cpu and $device"
if within 300 "demo" "$XCOMP" demo --out "$work/demo" --device cpu >"$work/demo.log" 2>&1; then
  curve_seconds=1800 curve "$work/demo/demo.toml" 20
else
  tail -3 "$work/demo.log"
  fail "loss curve: no material"
fi

echo
echo "vulkan-check: $failed parts failed, $((SECONDS - began)) s after the build"
[ "$failed" = 0 ]
