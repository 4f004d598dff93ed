#!/usr/bin/env bash
# A real language model in a Qwen2-shaped folder (SmolLM2-135M-Instruct): what it says, whether transformers says the same, how fast.
set -euo pipefail
[ $# = 1 ] || { echo "usage: smollm2.sh FOLDER (config.json, model.safetensors, tokenizer.json)" >&2; exit 2; }
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --workspace --features "${FEATURES:-turbojpeg}" --bins
tokens=$target/release/qwen2-tokens
venv=${INTEROP_VENV:-$target/interop-venv}

say() {
  python3 - "$1" <<'PYTHON'
import json, sys
ran = json.load(open(sys.argv[1]))
print(f"  {ran['text'].strip()}")
print(f"  {len(ran['tokens'])} tokens, {ran['tokens_per_s']:.1f} tokens/s; prompt of {len(ran['prompt'])} tokens in {ran['prefill_s']:.2f} s")
PYTHON
}
number=0
for question in "What is the capital of France?" "Name three colours of the rainbow." "Why is the sky blue? Answer in one sentence."; do
  number=$((number + 1))
  "$tokens" "$folder" 32 "$question" >"$work/$number.json"
  echo "$question"
  say "$work/$number.json"
  if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import transformers, torch' 2>/dev/null; then
    "$venv/bin/python" tests/interop/check.py tokens "$folder" "$work/$number.json"
  else
    echo "NOT RUN transformers: no virtual environment with it; make interop makes one" >&2
  fi
done
grep -q Paris "$work/1.json" || { echo "FAILED: the capital of France is not Paris" >&2; exit 1; }
