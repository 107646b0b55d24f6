#!/usr/bin/env python3
"""What the whole costs: a busy camera, a quiet camera, and what the gate loses. Prints one JSON object.

Every figure is CPU time of child processes, and every ratio is between two of one run of this script. What a process
needs to start is taken out by running it on a long and on a short piece of the same footage.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile


def cpu(call, **extra):
    """Runs a command; answers its CPU seconds and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(call, stdout=subprocess.PIPE, **extra)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"system.py: {' '.join(map(str, call))} exited with {done.returncode}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ffmpeg(*arguments):
    return cpu(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)])[0]


class System:
    def __init__(self, options, work):
        self.options, self.work, self.runs = options, work, 0

    def run(self, footage, *arguments):
        """One `detektor run`; answers CPU seconds, the camera's part of the summary, and its data directory."""
        self.runs += 1
        data = self.work / f"data-{self.runs}"
        call = [self.options.detektor, "run", f"--data-dir={data}", "--listen=127.0.0.1:0", f"--camera=c={footage}"]
        call += [f"--engine={self.options.engine}", "--workers=1", "--until-done", "--json", *arguments]
        seconds, summary = cpu(call, stderr=subprocess.DEVNULL)
        return seconds, json.loads(summary)["cameras"]["c"], data

    def detections(self, data):
        call = [self.options.detektor, "detections", f"--data-dir={data}", "--json"]
        return [json.loads(line) for line in cpu(call)[1].splitlines()]


def busy(system, work):
    """Every look that sampling asks for, against decoding and the same number of inferences by themselves."""
    footage, options = system.options.footage, system.options
    short = work / "short.mp4"
    ffmpeg("-t", 3, "-i", footage, "-c", "copy", "-an", short)
    long_cpu, long_camera, _ = system.run(footage, "--no-gate")
    short_cpu, short_camera, _ = system.run(short, "--no-gate")
    decode = lambda path: ffmpeg("-threads", 1, "-i", path, "-f", "null", "-")
    decoding = decode(footage) - decode(short)
    looks = long_camera["detected"] - short_camera["detected"]
    inference_s = options.inference_ms / 1000
    spent, parts = long_cpu - short_cpu, decoding + looks * inference_s
    return {
        "cpu_s": round(spent, 2),
        "decode_s": round(decoding, 2),
        "looks": looks,
        "inference_ms": options.inference_ms,
        "ratio": round(spent / parts, 3),
    }


def quiet(system, work):
    """A camera that sees nothing move: CPU a second of footage, looks apart."""
    pieces = []
    still = work / "still.mp4"
    ffmpeg("-ss", 45, "-t", 10, "-i", system.options.footage, "-an", "-vf", "scale=640:360", "-r", 15,
           "-c:v", "libx264", "-g", 30, "-preset", "veryfast", still)
    for loops in (2, 11):
        piece = work / f"still-{loops}.mp4"
        ffmpeg("-stream_loop", loops, "-i", still, "-c", "copy", piece)
        pieces.append(system.run(piece))
    (short_cpu, short_camera, _), (long_cpu, long_camera, _) = pieces
    seconds = (long_camera["captured"] - short_camera["captured"]) / 15
    looks = long_camera["detected"] - short_camera["detected"]
    looking = looks * system.options.inference_ms / 1000
    return {
        "seconds": seconds,
        "looks": looks,
        "cpu_ms_per_s": round(1000 * (long_cpu - short_cpu - looking) / seconds, 2),
        "looks_cpu_ms_per_s": round(1000 * looking / seconds, 2),
    }


def gate(system):
    """Which share of what is seen in every frame is seen when the gate may skip frames."""
    _, open_camera, everything = system.run(system.options.footage, "--no-gate", "--detect-fps=all")
    _, gated_camera, gated = system.run(system.options.footage, "--detect-fps=all")
    looked = {line["frame"] for line in system.detections(gated)}
    totals = {}
    for line in system.detections(everything):
        for thing in line["objects"]:
            for floor in (0.3, 0.5):
                if thing["score"] >= floor:
                    total = totals.setdefault(str(floor), {"objects": 0, "lost": 0})
                    total["objects"] += 1
                    total["lost"] += line["frame"] not in looked
    for total in totals.values():
        total["lost_share"] = round(total["lost"] / max(total["objects"], 1), 4)
    return {
        "frames": open_camera["captured"],
        "looked_without_gate": open_camera["detected"],
        "looked_with_gate": gated_camera["detected"],
        "by_least_score": totals,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--footage", default="samples/driveway.mov")
    parser.add_argument("--engine", default="ort")
    parser.add_argument("--inference-ms", type=float, required=True, help="one look, from the engines' benchmark")
    parser.add_argument("--only", choices=["busy", "quiet", "gate"], action="append")
    options = parser.parse_args()
    wanted = options.only or ["busy", "quiet", "gate"]
    with tempfile.TemporaryDirectory(prefix="detektor-bench-") as folder:
        work = pathlib.Path(folder)
        system = System(options, work)
        result = {"footage": options.footage, "engine": options.engine}
        if "busy" in wanted:
            result["busy"] = busy(system, work)
        if "quiet" in wanted:
            result["quiet"] = quiet(system, work)
        if "gate" in wanted:
            result["gate"] = gate(system)
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
