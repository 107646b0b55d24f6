#!/usr/bin/env python3
"""Kills `detektor run` on a live RTSP camera and shows that its record stays true.

A real RTSP server plays a test pattern. `detektor run` is killed with SIGKILL `--kills` times and started again over the
same data directory, at last ended with SIGTERM. Then the ledger must close; every moment must be in a frame or in a gap
that the ledger names, that of every kill in a gap; no frame and no event may stand there twice, and frames must be in order.
The camera's password must be nowhere in what was written. Prints one JSON object; exits 1 where anything of that is not so.
"""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

from alone import Alone
from cameras import LiveCamera
from checks import in_a_gap, wrong_with_live
from leaks import leaks
from servers import end_properly


def live(options, alone):
    """Returns when it was killed."""
    dice, kills = random.Random(options.seed), []
    for _ in range(options.kills):
        alone.spawn()
        time.sleep(dice.uniform(options.shortest, options.longest))
        kills.append(time.time())
        alone.kill()
    alone.spawn()
    time.sleep(2 * options.longest)
    status = alone.stop(60)
    if status != 0:
        raise SystemExit(f"live.py: detektor run exited with {status} after SIGTERM; its log: {alone.log}")
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--shortest", type=float, default=3.0, help="seconds a life lasts at least")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds a life lasts at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end_properly()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-live-"))
    camera = LiveCamera("live", work / "camera")
    camera.start()
    alone = Alone(options.detektor, work / "run", [camera.settings()])
    try:
        kills = live(options, alone)
    finally:
        alone.kill()
        camera.kill()
    found = alone.record()
    ledger, looks = found["ledgers"][camera.name], found["detections"][camera.name]
    wrong = wrong_with_live(ledger, looks, found["events"], camera.FPS)
    # Before the first frame there was nothing to lose.
    seen = [at for at in kills if looks and looks[0]["time_s"] < at]
    wrong += [f"the kill at {at:.1f} is in no gap" for at in seen if not in_a_gap(ledger, at)]
    wrong += leaks(work, {camera.name: camera.password}, {camera.password_file})
    answer = {
        "kills": len(kills),
        "seed": options.seed,
        "captured": ledger["captured"],
        "looked_at": len(looks),
        "gaps": len(ledger["gaps"]),
        "gap_causes": sorted({gap["cause"] for gap in ledger["gaps"]}),
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
