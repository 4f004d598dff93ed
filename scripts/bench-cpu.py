#!/usr/bin/env python3
"""One training step on this machine's processor beside the same step in PyTorch: same shapes, tokens, frames and labelled rows, AdamW with clipping.

    make bench-cpu [BASELINE=../shared/perf/torch_baseline.py] [ROUNDS=7]

Rounds are interleaved: ours, then each PyTorch with one thread and with two; first the whole step, then the step behind kept features.
Each number is the median of a process's timed steps; ours is held against the best of PyTorch's versions and thread counts.
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
# By the name of a virtual environment: an old PyTorch that many still run, and the newest.
PACKAGES = {"bench-venv": ["torch==2.2.2", "numpy<2"], "bench-new": ["torch", "numpy"]}
THREADS = (1, 2)


def last_json(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


def ours(options, kind):
    command = [options.xcomp, "bench", RECIPE, "--device", "cpu", "--format", "json"]
    command += ["--frames", str(options.frames), "--steps", str(options.steps)]
    return command + (["--cached"] if kind == "cached" else [])


def torch(options, kind, side):
    python, threads = side
    command = [python, options.baseline, "--preset", "cpu", "--device", "cpu", "--head", options.head]
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
    """Milliseconds of each round: ours, then PyTorch's by its Python and its number of threads."""
    sides = [(python, threads) for python in options.python for threads in THREADS]
    mine, theirs = [], {side: [] for side in sides}
    for number in range(options.rounds):
        report = last_json(ours(options, kind))
        mine.append(1e3 * report["rows"][0]["step_s"]["median"])
        for side in sides:
            baseline = last_json(torch(options, kind, side))
            same_work(report, baseline)
            options.names[side[0]] = baseline["torch"]
            theirs[side].append(baseline["wall_ms_per_sample"])
        shown = ", ".join(f"{name(options, side)} {theirs[side][-1]:.1f}" for side in sides)
        print(f"{kind} round {number + 1}: ours {mine[-1]:.1f} ms, {shown} ms", flush=True)
    return mine, theirs


def name(options, side):
    return f"torch {options.names[side[0]]} x{side[1]}"


def spread(numbers, form):
    return "  ".join(form.format(f(numbers)) for f in (min, statistics.median, max))


def compare(options, kind):
    mine, theirs = measure(options, kind)
    best = min(theirs, key=lambda side: statistics.median(theirs[side]))
    ratios = [a / b for a, b in zip(mine, theirs[best])]
    print(f"{kind} step, {options.frames} frames, {options.rounds} pairs      min  median     max")
    print(f"  {'ours, ms':30} {spread(mine, '{:7.1f}')}")
    for side, times in theirs.items():
        print(f"  {name(options, side) + ', ms':30} {spread(times, '{:7.1f}')}")
    print(f"  {'ours / ' + name(options, best):30} {spread(ratios, '{:7.2f}')}", flush=True)
    return statistics.median(ratios)


def python_with_torch(environment):
    """A virtual environment of the build folder; made once."""
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), environment)
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[environment]], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("xcomp", help="the program")
    parser.add_argument("--baseline", default="../shared/perf/torch_baseline.py", help="the step in PyTorch")
    parser.add_argument("--python", action="append", help="a Python that has torch, several in the order of the rounds; default: two in the build folder, made at first")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each process")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--limit", type=float, default=1.2, help="highest median ratio that passes")
    parser.add_argument("--head", choices=["sup", "all"], default="sup", help="PyTorch's logits: of labelled rows as ours, or of all rows")
    parser.add_argument("--kind", action="append", choices=["whole", "cached"], help="the whole step, or behind kept features; default: both")
    options = parser.parse_args()
    if not os.path.exists(options.baseline):
        sys.exit(f"{options.baseline} is not there; name PyTorch's side with --baseline")
    options.python = options.python or [python_with_torch(environment) for environment in PACKAGES]
    options.names = {}
    print("ours: ", " ".join(ours(options, "whole")))
    print("torch:", " ".join(torch(options, "whole", (options.python[0], THREADS[0]))), flush=True)
    ratios = {kind: compare(options, kind) for kind in options.kind or ("whole", "cached")}
    for kind, ratio in ratios.items():
        print(f"{kind}: ours / torch {ratio:.2f} (at most {options.limit} is asked for)")
    sys.exit(0 if all(ratio <= options.limit for ratio in ratios.values()) else 1)


if __name__ == "__main__":
    main()
