#!/usr/bin/env python3
"""What slicing costs against `ffmpeg -c copy -f segment`, for key frames 1 s and 10 s apart. Prints one JSON object.

Both write their segments into a folder. CPU seconds of child processes, the median of rounds that take turns. What a
process needs to start is in them: `start_s` has that by itself, from a file of one second.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile


def cpu(*call):
    """Runs a command; answers its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(part) for part in call], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"slicing.py: {' '.join(map(str, call))} exited with {done.returncode}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ffmpeg(*arguments):
    return cpu("ffmpeg", "-nostdin", "-v", "error", "-y", *arguments)


def footage(work, source, gop_s, minutes):
    """The footage with evenly spaced key frames, repeated, and its first second."""
    once, long, short = (work / f"{gop_s}s-{name}.mp4" for name in ("once", "long", "short"))
    keys = ["-g", 30 * gop_s, "-keyint_min", 30 * gop_s, "-sc_threshold", 0]
    ffmpeg("-i", source, "-an", "-r", 30, "-c:v", "libx264", "-preset", "veryfast", *keys, once)
    ffmpeg("-stream_loop", minutes - 1, "-i", once, "-c", "copy", long)
    ffmpeg("-i", once, "-t", 1, "-c", "copy", short)
    return long, short


class Cutters:
    def __init__(self, slicer, work):
        self.slicer, self.work, self.folders = slicer, work, 0

    def folder(self):
        self.folders += 1
        folder = self.work / f"segments-{self.folders}"
        folder.mkdir()
        return folder

    def ours(self, path):
        return cpu(self.slicer, path, self.folder())

    def ffmpeg(self, path):
        segments = self.folder() / "%05d.mp4"
        return ffmpeg("-i", path, "-map", "0:v", "-c", "copy", "-f", "segment", "-segment_format", "mp4", segments)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slicer", type=pathlib.Path, help="dispatcher/examples/slice.rs, built")
    parser.add_argument("--footage", type=pathlib.Path, default="samples/driveway.mov")
    parser.add_argument("--minutes", type=int, default=10, help="how often the footage of a minute is repeated")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # In memory where there is such a folder: what a disk does at its own time is nobody's cost here.
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        work = pathlib.Path(folder)
        cutters = Cutters(options.slicer, work)
        result = {}
        for gop_s in (1, 10):
            long, short = footage(work, options.footage, gop_s, options.minutes)
            rounds = [(cutters.ours(long), cutters.ffmpeg(long)) for _ in range(options.rounds)]
            starts = [(cutters.ours(short), cutters.ffmpeg(short)) for _ in range(options.rounds)]
            ours, theirs = map(statistics.median, zip(*rounds))
            result[f"gop_{gop_s}s"] = {
                "megabytes": round(long.stat().st_size / 1e6, 1),
                "ours_s": round(ours, 3),
                "ffmpeg_s": round(theirs, 3),
                "ratio": round(ours / theirs, 3),
                "start_s": dict(zip(("ours", "ffmpeg"), (round(statistics.median(s), 3) for s in zip(*starts)))),
            }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
