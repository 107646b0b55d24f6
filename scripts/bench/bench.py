#!/usr/bin/env python3
"""All benchmarks in one run: prints one JSON object, and a table of the goals to standard error.

Every figure is CPU time, and every ratio is between two of one run, taken turn by turn: what else the machine does hits
both. Exits with 1 where a goal is missed.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import system
from measure import cpu, ffmpeg

HERE = pathlib.Path(__file__).resolve().parent
MODEL = "models/efficientdet-lite0.toml"


class Bench:
    def __init__(self, options, work):
        self.options, self.work, self.goals = options, work, []

    def goal(self, what, found, sign, limit):
        met = found >= limit if sign == ">=" else found <= limit
        self.goals.append({"what": what, "found": round(found, 3), "goal": f"{sign} {limit}", "met": met})
        print(f"{'   ' if met else '!! '}{what}: {found:.3g} (goal {sign} {limit})", file=sys.stderr)

    def example(self, name, *arguments):
        """One JSON object a line, from one of the measuring programs."""
        printed = cpu([self.options.binaries / "examples" / name, *arguments])[1]
        return [json.loads(line) for line in printed.splitlines()]

    def decoding(self):
        """Against `ffmpeg -threads 1 -f null`, on the same file."""
        first = self.options.footage[0]
        files = {pathlib.Path(path).name: path for path in self.options.footage}
        made = {
            "1080p": ["-t", 10, "-i", first, "-vf", "scale=1920:1080", "-g", 30],
            "10 s GOPs": ["-i", first, "-g", 300, "-keyint_min", 300, "-sc_threshold", 0],
            "10 s GOPs, no B-frames": ["-i", first, "-g", 300, "-keyint_min", 300, "-sc_threshold", 0, "-bf", 0],
        }
        for name, arguments in made.items():
            files[name] = self.work / f"decoding-{len(files)}.mp4"
            ffmpeg(*arguments, "-an", "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "veryfast", files[name])
        result = {}
        for name, path in files.items():
            result[name] = self.example("decode_rate", path)[0]
            self.goal(f"decoding {name}, of ffmpeg's rate", result[name]["rate"], ">=", 0.95)
        return result

    def slicing(self):
        """Against `ffmpeg -c copy -f segment`, on the same file."""
        program, slicer = HERE / "slicing.py", self.options.binaries / "examples/slice"
        result = json.loads(cpu([program, slicer, "--footage", self.options.footage[0]])[1])
        for name, row in result.items():
            self.goal(f"slicing {name}, of ffmpeg's CPU", row["ratio"], "<=", 0.5)
        return result

    def engines(self):
        """Against ONNX Runtime called bare, one thread, the same graph."""
        result = self.example("engine_bench", MODEL, 50)[0]
        rates = {name: engine["rate"] for name, engine in result["engines"].items()}
        for name, rate in rates.items():
            print(f"   engine {name}, of onnxruntime's rate: {rate:.3g}", file=sys.stderr)
        self.goal("best engine, of onnxruntime's rate", max(rates.values()), ">=", 0.9)
        return result

    def inference_ms(self, engine):
        """One inference with its decoding, as it is right now."""
        return self.example("engine_bench", MODEL, 15)[0]["engines"][engine]["median_ms"]

    def busy(self):
        options = self.options
        result = system.busy(
            options.binaries, self.work, options.footage[0], options.engine, self.inference_ms, options.rounds
        )
        self.goal("a busy camera, of decoding + looks x inference", result["ratio"], "<=", 1.1)
        return result

    def quiet(self):
        options, result = self.options, {}
        for name, (still, fps) in system.quiet_footage(self.work, options.footage[0]).items():
            result[name] = system.quiet(
                options.binaries, self.work, still, fps, options.engine, self.inference_ms, options.rounds
            )
            self.goal(f"a quiet camera, {name}, ms of CPU a second", result[name]["cpu_ms_per_s"], "<=", 5)
        return result

    def gate(self):
        """Which detections lie in frames that the gate skips."""
        return self.example("gate_loss", MODEL, self.options.engine, self.options.fps, *self.options.footage)


PARTS = ["decoding", "slicing", "engines", "busy", "quiet", "gate"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binaries", type=pathlib.Path, help="the folder with `detektor` and `examples/`")
    parser.add_argument("--footage", action="append", help="a video; the first serves where one is enough")
    parser.add_argument("--engine", default="ort", choices=["ort", "tract"], help="looks in whole runs (ort)")
    parser.add_argument("--fps", default="5", help="looks a second for the gate's loss, or all (5)")
    parser.add_argument("--rounds", type=int, default=3, help="of whole runs, whose median counts (3)")
    parser.add_argument("--only", choices=PARTS, action="append", help="some parts instead of all")
    options = parser.parse_args()
    options.footage = options.footage or ["samples/driveway.mov"]
    result = {}
    with tempfile.TemporaryDirectory(prefix="detektor-bench-") as folder:
        bench = Bench(options, pathlib.Path(folder))
        for part in options.only or PARTS:
            result[part] = getattr(bench, part)()
    result["goals"] = bench.goals
    print(json.dumps(result, indent=1))
    return 0 if all(goal["met"] for goal in bench.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
