#!/usr/bin/env bash
# Everything that only a GPU can show, in under nine minutes after the build: parity with the reference's vectors, seconds of a
# step of the real shapes beside PyTorch, and the demo's loss curve beside the processor's.
#
#   scripts/gpu-check.sh [--device cuda] [--baseline FILE]      builds with --features turbojpeg,cuda (about 20 minutes when cold)
#   scripts/gpu-check.sh --dry-run                              the same parts on the processor, with tiny sizes
#
# XCOMP, GOLDEN_LLM, GOLDEN_MODEL and TINY_RUN name programs that are built already; then nothing is built.
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
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
part() { echo; echo "== $1 =="; }
not_run() { echo "NOT RUN $1: $2"; }
fail() { echo "FAILED $1"; failed=$((failed + 1)); }
# Seconds, name, command: a part that is out of time is cut, and what it printed stays.
within() {
  local seconds=$1 name=$2; shift 2
  timeout "$seconds" "$@"
  local code=$?
  if [ "$code" = 124 ]; then echo "CUT $name after $seconds s"; fi
  return "$code"
}

# The path that a build prints for a test: "Executable tests/NAME.rs (PATH)".
test_program() { sed -n "s/.*Executable tests\/$1\.rs (\(.*\))/\1/p" "$work/build.log"; }
build() {
  cargo build --release --workspace --bins "${features[@]}" &&
    cargo test --release --workspace "${features[@]}" --test golden_llm --test golden_model --no-run 2>&1 | tee "$work/build.log"
}
if [ -z "${XCOMP:-}" ]; then
  build || { echo "gpu-check: the build failed" >&2; exit 1; }
  XCOMP=$target/release/xcomp TINY_RUN=$target/release/tiny-run
  GOLDEN_LLM=$(test_program golden_llm) GOLDEN_MODEL=$(test_program golden_model)
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
  grep '^PARITY' "$work/$3.log"
  if [ "$code" != 0 ]; then grep -v '^PARITY' "$work/$3.log" | tail -5; fail "$1"; fi
}
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
# Logged losses of a run, one a line.
losses() { sed -n 's/.*"loss":\([-0-9.e]*\),.*/\1/p' "$1/metrics.jsonl"; }
curve() { # recipe, steps
  local set=(--set "train.max_steps=$2" --set log.logging_steps=1 --set checkpoint.save_steps=0)
  local name on
  for name in cpu other; do
    on=cpu
    if [ "$name" = other ]; then on=$device; fi
    if ! within 60 "run on $on" "$XCOMP" train "$1" --out "$work/$name" --device "$on" "${set[@]}" >"$work/$name.log" 2>&1; then
      tail -3 "$work/$name.log"
      fail "loss curve: the run on $on failed"
      return
    fi
  done
  paste <(losses "$work/cpu") <(losses "$work/other") >"$work/curve"
  awk -v steps="$2" '
    { off = ($2 - $1) / $1; if (off < 0) off = -off; if (NR <= 10 && off > early) early = off; a += $1; b += $2 }
    NR == 1 || NR % 10 == 0 { printf "step %3d  cpu %.4f  here %.4f\n", NR, $1, $2 }
    END {
      mean = (b - a) / a; if (mean < 0) mean = -mean
      printf "largest difference in the first 10 steps %.2e (at most 2e-2), of the means %.2e (at most 5e-2)\n", early, mean
      exit !(NR == steps && early <= 0.02 && mean <= 0.05)
    }' "$work/curve" || fail "loss curve"
}
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
