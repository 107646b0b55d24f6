#!/usr/bin/env python3
"""Draws depth, replicas and latency over one scale-up and -down, from the samples of `scale_operations.sh --samples FILE`.

Installs matplotlib into a folder of its own where it is missing.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "docs/results"
FOLDER = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "detektor/plot"


def with_matplotlib():
    """Goes on in a Python that has it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        python = FOLDER / "bin/python"
        if pathlib.Path(sys.prefix) == FOLDER:
            raise SystemExit("scale_plot.py: matplotlib was installed and cannot be imported") from None
        if not python.exists():
            venv.create(FOLDER, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "matplotlib"], check=True, stdout=sys.stderr)
        os.execv(python, [python, __file__, *sys.argv[1:]])


def read(file):
    """Samples and marks, in their order."""
    taken, marks = [], []
    for line in pathlib.Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (marks if "mark" in row else taken).append(row)
    if not taken:
        raise SystemExit(f"scale_plot.py: no samples in {file}")
    return taken, marks


def series(taken, what):
    """Times and values, without what could not be measured."""
    rows = [(row["at_s"], row[what]) for row in taken if row.get(what) is not None]
    return [at for at, _ in rows], [value for _, value in rows]


def draw(taken, marks, title, out):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (depth, pods, latency) = plt.subplots(3, 1, sharex=True, figsize=(10, 8), constrained_layout=True)
    depth.plot(*series(taken, "depth"), color="tab:blue")
    depth.set_ylabel("segments waiting\nand in work")
    pods.step(*series(taken, "wanted"), where="post", color="tab:gray", linestyle="--", label="wanted")
    pods.step(*series(taken, "fit"), where="post", color="tab:orange", linewidth=4, alpha=0.5, label="with room on a node")
    pods.step(*series(taken, "working"), where="post", color="tab:green", label="have taken work")
    pods.set_ylabel("detection pods")
    pods.legend(loc="upper right")
    for what, style, label in (("p99_ms", "-", "p99"), ("p50_ms", ":", "p50")):
        at, values = series(taken, what)
        latency.plot(at, [value / 1000 for value in values], style, color="tab:red", label=label)
    latency.set_yscale("log")
    latency.set_ylabel("segment's end until its\nevents can be read, s")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right")
    for plot in (depth, pods, latency):
        plot.grid(alpha=0.3)
        plot.set_xlim(taken[0]["at_s"], taken[-1]["at_s"])
        for mark in marks:
            plot.axvline(mark["at_s"], color="black", linewidth=0.7, alpha=0.5)
    for mark in marks:
        if mark["at_s"] == 0:
            # What is waited for first; the next one is close by.
            continue
        depth.annotate(mark["mark"], (mark["at_s"], 1), xycoords=("data", "axes fraction"), rotation=20, fontsize=8, va="bottom")
    figure.suptitle(title)
    figure.savefig(out, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples")
    parser.add_argument("--out", type=pathlib.Path, help="else docs/results/<name of the samples>.png")
    parser.add_argument("--title", default="One scale-up and -down")
    options = parser.parse_args()
    taken, marks = read(options.samples)
    with_matplotlib()
    out = options.out or RESULTS / f"{pathlib.Path(options.samples).stem}.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(taken, marks, options.title, out)
    print(json.dumps({"plot": str(out), "samples": len(taken)}))


if __name__ == "__main__":
    main()
