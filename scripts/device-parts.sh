# What the checks of devices have in common; sourced by scripts/gpu-check.sh and scripts/vulkan-check.sh.
# They set `device`, and `XCOMP`, the program.

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

# Logged losses of a run, one a line.
losses() { sed -n 's/.*"loss":\([-0-9.e]*\),.*/\1/p' "$1/metrics.jsonl"; }
# The same first steps on the processor and on the device.
curve() { # recipe, steps
  local set=(--set "train.max_steps=$2" --set log.logging_steps=1 --set checkpoint.save_steps=0)
  local name on
  for name in cpu other; do
    on=cpu
    if [ "$name" = other ]; then on=$device; fi
    if ! within "${curve_seconds:-60}" "run on $on" "$XCOMP" train "$1" --out "$work/$name" --device "$on" "${set[@]}" >"$work/$name.log" 2>&1; then
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
