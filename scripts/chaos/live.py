#!/usr/bin/env python3
"""Kills `detektor run` on a live RTSP camera and shows that its record stays true.

A real RTSP server plays a test pattern. `detektor run` is killed with SIGKILL `--kills` times and started again over the
same data directory, at last ended with SIGTERM. Then the ledger must close; the moment of every kill must lie in a gap that
the ledger names; no frame and no event may stand there twice, and frames must be in order. The camera's password must be
in no log. Prints one JSON object; exits 1 where anything of that is not so.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PASSWORD = "k4meraGeheim"
SERVER = pathlib.Path(__file__).parents[2] / "dispatcher/tests/support/rtsp_server.py"
# Capture times follow the arrival of frames, smoothed: they may be off by this much.
SLACK_S = 0.2


def read(options, data, kind):
    call = [options.detektor, kind, f"--data-dir={data}", "--json"]
    done = subprocess.run(call, check=True, capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def live(options, data, log):
    # The system's Python: GStreamer's bindings come from Debian.
    server = ["/usr/bin/python3", SERVER, "--codec=h264", "--auth=digest", "--user=admin", f"--password={PASSWORD}"]
    camera = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    word, _, port = camera.stdout.readline().strip().partition(" ")
    if word != "ready":
        raise SystemExit("live.py: the RTSP server did not start")
    config = data.parent / "detektor.toml"
    # A killed epoch has no end, and merge waits for one so long before it goes on: less than a life lasts.
    config.write_text("hole_wait_ms = 1000\n")
    url = f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/camera"
    run = [options.detektor, "run", f"--config={config}", f"--data-dir={data}", "--listen=127.0.0.1:0"]
    run += [f"--camera=live={url}"]
    start = lambda: subprocess.Popen(run, stdout=log, stderr=log)
    dice, kills = random.Random(options.seed), []
    try:
        for _ in range(options.kills):
            child = start()
            time.sleep(dice.uniform(options.shortest, options.longest))
            kills.append(time.time())
            child.kill()
            child.wait()
        child = start()
        time.sleep(2 * options.longest)
        child.send_signal(signal.SIGTERM)
        if child.wait(60) != 0:
            raise SystemExit(f"live.py: detektor run exited with {child.returncode} after SIGTERM")
    finally:
        camera.communicate(timeout=30)
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--shortest", type=float, default=3.0, help="seconds a life lasts at least")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds a life lasts at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-live-"))
    with open(work / "log", "wb") as log:
        kills = live(options, work / "data", log)
    (ledger,) = read(options, work / "data", "ledger")
    frames = [(look["epoch"], look["frame"]) for look in read(options, work / "data", "detections")]
    times = [look["time_s"] for look in read(options, work / "data", "detections")]
    events = [event["id"] for event in read(options, work / "data", "events")]

    gaps = [(gap["from_s"], gap["until_s"] or float("inf"), gap["cause"]) for gap in ledger["gaps"]]
    named = lambda at: any(begin - SLACK_S <= at <= end + SLACK_S for begin, end, _ in gaps)
    wrong = []
    wrong += [] if ledger["closes"] else ["the ledger does not close"]
    # Before the first frame there was nothing to lose.
    wrong += [f"the kill at {at:.1f} is in no gap" for at in kills if times and times[0] < at and not named(at)]
    wrong += ["gaps overlap"] if any(one[1] > other[0] for one, other in zip(gaps, gaps[1:])) else []
    wrong += ["a frame stands there twice"] if len(set(frames)) < len(frames) else []
    wrong += ["an event stands there twice"] if len(set(events)) < len(events) else []
    wrong += ["frames are out of order"] if frames != sorted(frames) or times != sorted(times) else []
    wrong += ["the log holds the password"] if PASSWORD.encode() in (work / "log").read_bytes() else []
    wrong += ["nothing was captured between the kills"] if ledger["captured"] == 0 or not frames else []
    answer = {
        "kills": len(kills),
        "seed": options.seed,
        "captured": ledger["captured"],
        "looked_at": len(frames),
        "gaps": len(gaps),
        "gap_causes": sorted({cause for _, _, cause in gaps}),
        "closes": ledger["closes"],
        "wrong": wrong,
    }
    print(json.dumps(answer))
    if wrong:
        print(f"live.py: see {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
