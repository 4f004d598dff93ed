#!/usr/bin/env python3
"""One training step on this machine's processor beside the same step in PyTorch: same shapes, tokens, frames and labelled rows, AdamW with clipping.

    make bench-cpu [BASELINE=../shared/perf/torch_baseline.py] [ROUNDS=5]

Rounds are interleaved: ours, PyTorch with one thread, PyTorch with two; first the whole step, then the step behind kept features.
Each number is the median of a process's timed steps; ours is held against the better of PyTorch's thread counts.
Exits with 1 where the median ratio of a kind of step is above the limit.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import venv

RECIPE = "recipes/bench-cpu.toml"
PACKAGES = ["torch==2.2.2", "numpy<2"]
THREADS = (1, 2)


def last_json(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


def ours(options, kind):
    command = [options.xcomp, "bench", RECIPE, "--device", "cpu", "--format", "json"]
    command += ["--frames", str(options.frames), "--steps", str(options.steps)]
    return command + (["--cached"] if kind == "cached" else [])


def torch(options, kind, threads):
    command = [options.python, options.baseline, "--preset", "cpu", "--device", "cpu", "--head", options.head]
    command += ["--frames", str(options.frames), "--steps", str(options.steps), "--threads", str(threads)]
    return command + (["--cached"] if kind == "cached" else [])


def same_work(report, baseline):
    """Both must say that they trained as many parameters on as many tokens."""
    row = report["rows"][0]
    mine = (report["tuned"], row["tokens_in"], row["supervised_tokens"])
    theirs = (baseline["trained_params"], baseline["tokens_first"], baseline["supervised"])
    if mine != theirs:
        sys.exit(f"not the same work: parameters, tokens, supervised are {mine} here and {theirs} there")


def measure(options, kind):
    """Milliseconds of each round: ours, then PyTorch's by number of threads."""
    mine, theirs = [], {threads: [] for threads in THREADS}
    for number in range(options.rounds):
        report = last_json(ours(options, kind))
        mine.append(1e3 * report["rows"][0]["step_s"]["median"])
        for threads in THREADS:
            baseline = last_json(torch(options, kind, threads))
            same_work(report, baseline)
            theirs[threads].append(baseline["wall_ms_per_sample"])
        shown = ", ".join(f"torch x{threads} {theirs[threads][-1]:.1f}" for threads in THREADS)
        print(f"{kind} round {number + 1}: ours {mine[-1]:.1f} ms, {shown} ms", flush=True)
    return mine, theirs


def spread(numbers, form):
    return "  ".join(form.format(f(numbers)) for f in (min, statistics.median, max))


def compare(options, kind):
    mine, theirs = measure(options, kind)
    best = min(THREADS, key=lambda threads: statistics.median(theirs[threads]))
    ratios = [a / b for a, b in zip(mine, theirs[best])]
    print(f"{kind} step, {options.frames} frames, {options.rounds} pairs      min  median     max")
    print(f"  ours, ms                 {spread(mine, '{:7.1f}')}")
    for threads in THREADS:
        print(f"  torch, {threads} threads, ms     {spread(theirs[threads], '{:7.1f}')}")
    print(f"  ours / torch x{best}          {spread(ratios, '{:7.2f}')}", flush=True)
    return statistics.median(ratios)


def python_with_torch():
    """A virtual environment of the build folder; made once."""
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "bench-venv")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("xcomp", help="the program")
    parser.add_argument("--baseline", default="../shared/perf/torch_baseline.py", help="the step in PyTorch")
    parser.add_argument("--python", help="a Python that has torch; default: one in the build folder, made at first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each process")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--limit", type=float, default=1.2, help="highest median ratio that passes")
    parser.add_argument("--head", choices=["sup", "all"], default="sup", help="PyTorch's logits: of labelled rows as ours, or of all rows")
    options = parser.parse_args()
    if not os.path.exists(options.baseline):
        sys.exit(f"{options.baseline} is not there; name PyTorch's side with --baseline")
    options.python = options.python or python_with_torch()
    print("ours: ", " ".join(ours(options, "whole")))
    print("torch:", " ".join(torch(options, "whole", THREADS[0])), flush=True)
    ratios = {kind: compare(options, kind) for kind in ("whole", "cached")}
    for kind, ratio in ratios.items():
        print(f"{kind}: ours / torch {ratio:.2f} (at most {options.limit} is asked for)")
    sys.exit(0 if all(ratio <= options.limit for ratio in ratios.values()) else 1)


if __name__ == "__main__":
    main()
