#!/usr/bin/env bash
# Tunes a tiny model, exports it, and loads the export with code that is not ours:
# transformers, PEFT, the safetensors package, candle. Says what it could not run, and why.
# The Python packages go into a virtual environment under target/; INTEROP_VENV names one that is there already.
set -uo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 ran=0 missing=0

check() { # name, command...
  local name=$1; shift
  if "$@"; then ran=$((ran + 1)); else echo "FAILED $name" >&2; failed=$((failed + 1)); fi
}
not_run() { echo "NOT RUN $1: $2" >&2; missing=$((missing + 1)); }

material() {
  "$target/release/tiny-run" "$work" && cd "$work" &&
    "$xcomp" train recipe.toml --out run >/dev/null && "$xcomp" export run whole && "$xcomp" export run plain --llm-only &&
    "$tokens" plain 16 '[3, 141, 59, 26, 53, 58, 97, 93, 23, 84]' >ours.json
}
cargo build --release --workspace --features "${FEATURES:-turbojpeg}" --bins || exit 1
target=$(cd "$target" && pwd)
xcomp=$target/release/xcomp tokens=$target/release/qwen2-tokens logits=$target/release/video-logits
# A base, an adapter on it, and both merged by us.
adapter() {
  mkdir "$work/lora" && "$target/release/tiny-run" "$work/lora" && cd "$work/lora" &&
    "$xcomp" train recipe.toml --out base --set optimizer.learning_rate=0.0 --set train.max_steps=1 >/dev/null &&
    "$xcomp" export base whole && "$xcomp" export base plain --llm-only &&
    "$xcomp" train recipe.toml --out run --set model.init=checkpoint --set model.checkpoint=whole \
      --set tune.lora_rank=4 --set tune.lora_alpha=8 --set tune.lora_rslora=true --set tune.lora_dropout=0.1 >/dev/null &&
    "$xcomp" export run adapter --adapter --llm-only && "$xcomp" export run merged --llm-only &&
    "$tokens" merged 16 '[3, 141, 59, 26, 53, 58, 97, 93, 23, 84]' >ours.json
}
next_video() {
  "$target/release/tiny-run" "$work/next" llava-next-video && cd "$work/next" &&
    "$xcomp" train recipe.toml --out run >/dev/null && "$xcomp" export run whole &&
    "$logits" whole media/folder_1 'What colour is it?' 3 >ours.json
}
windows() {
  "$target/release/tiny-run" "$work/windows" video-xl && cd "$work/windows" &&
    "$xcomp" train recipe.toml --out run >/dev/null && "$xcomp" export run whole && "$xcomp" export run plain --llm-only &&
    "$logits" whole media/folder_1 'What colour is it?' 8 >ours.json
}
(material) && (next_video) && (adapter) && (windows) || { echo "interop: the export itself failed" >&2; exit 1; }

venv=${INTEROP_VENV:-$target/interop-venv}
if ! command -v python3 >/dev/null; then
  not_run transformers "there is no python3"; not_run safetensors "there is no python3"
elif [ -x "$venv/bin/python" ] || python3 -m venv "$venv" 2>"$work/venv.log"; then
  has() { "$venv/bin/python" -c "import $1" 2>/dev/null; }
  has safetensors.numpy || "$venv/bin/pip" install -q 'numpy<2' safetensors 2>"$work/pip.log"
  if has safetensors.numpy; then
    check safetensors "$venv/bin/python" tests/interop/check.py safetensors "$work/whole"
    check safetensors "$venv/bin/python" tests/interop/check.py safetensors "$work/plain"
    check safetensors "$venv/bin/python" tests/interop/check.py safetensors "$work/windows/plain"
  else
    not_run safetensors "$(tail -1 "$work/pip.log")"
  fi
  has torch && has transformers && has peft ||
    "$venv/bin/pip" install -q torch==2.2.2 'numpy<2' transformers==4.48.3 peft==0.14.0 accelerate==1.2.1 safetensors 2>"$work/pip.log"
  if has torch && has transformers; then
    check transformers "$venv/bin/python" tests/interop/check.py transformers "$work/plain" "$work/ours.json"
    check transformers "$venv/bin/python" tests/interop/check.py video "$work/next/whole" "$work/next/ours.json"
    check transformers "$venv/bin/python" tests/interop/check.py windows "$work/windows/plain" "$work/windows/ours.json"
  else
    not_run transformers "$(tail -1 "$work/pip.log")"
  fi
  if has peft; then
    check peft "$venv/bin/python" tests/interop/check.py peft "$work/lora" "$work/lora/ours.json"
  else
    not_run peft "$(tail -1 "$work/pip.log")"
  fi
else
  not_run transformers "$(tail -1 "$work/venv.log")"; not_run safetensors "$(tail -1 "$work/venv.log")"
fi

# Its own target folder: its dependencies are not ours.
if CARGO_TARGET_DIR=$target/interop-candle cargo build --release --locked --manifest-path tests/interop-candle/Cargo.toml 2>"$work/candle.log"; then
  check candle "$target/interop-candle/release/interop-candle" "$work/plain" "$work/ours.json"
else
  not_run candle "$(grep -m1 error "$work/candle.log" || tail -1 "$work/candle.log")"
fi

echo "interop: $ran checks passed, $failed failed, $missing could not be run"
[ "$failed" = 0 ]
