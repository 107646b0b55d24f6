#!/usr/bin/env python3
"""Breaks one thing at a time in a whole stack at work, and says how long cameras did not get on.

For each fault, the worst of so many tries: how long it lasted (`broken_s`), the longest time in which nothing more of some
camera was merged (`stall_s`; a camera in peace gets on once a second), and how long after the mending every camera had got
on (`recovery_s`). Prints one JSON object."""

import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

from cluster import Cluster
from faults import Chaos, Fault
from roles import Progress
from servers import end_properly

# What is broken how, and for how many seconds.
WIRES = [f"{role}-0 - amqp" for role in ("detect", "merge", "dispatcher")]
WIRES += ["merge-0 - postgres", "dispatcher-0 - postgres", "detect-0 - s3", "merge-0 - s3"]
ROLES, SERVERS = ("balancer-0", "detect-0", "merge-0", "dispatcher-0"), ("rabbitmq", "postgres", "minio")
FAULTS = [
    *[(role, how, lasts) for role in ROLES for how, lasts in (("killed", 0.5), ("paused", 8.0))],
    *[(server, how, lasts) for server in SERVERS for how, lasts in (("killed", 1.0), ("paused", 8.0))],
    *[(wire, how, lasts) for wire in WIRES for how, lasts in (("cut", 6.0), ("stalled", 6.0), ("lost", 0.1))],
]
# Before each fault everybody has got on for so long.
PEACE_S = 4.0
HOPELESS_S = 180.0
# Who waits for a lost connection to answer gives up after less than this.
LATER_S = 20.0
# A camera that does not get on for so long has not recovered.
STALL_S = 3.0


def cameras(api):
    try:
        return {camera["id"]: camera for camera in api.cameras()}
    except OSError:
        return {}


def watched(api, names, seconds):
    progress, begun = Progress(names), time.monotonic()
    while time.monotonic() - begun < seconds:
        progress.look(cameras(api))
        time.sleep(0.1)
    return progress


def measure(cluster, chaos, names, fault):
    """Inflicts a fault, mends it, waits until every camera has got on, and on for what is noticed only later."""
    api, progress, begun = cluster.stack.api, Progress(names), time.monotonic()
    progress.look(cameras(api))
    chaos.inflict(fault)
    mended, recovered = None, set()
    while len(recovered) < len(names):
        now = time.monotonic()
        if mended is None and now - begun >= fault.until:
            chaos.mend(fault)
            mended = time.monotonic()
        got_on = progress.look(cameras(api))
        if mended:
            recovered |= set(got_on)
        if now - begun > HOPELESS_S:
            raise SystemExit(f"{fault}: {set(names) - recovered} did not get on for {HOPELESS_S} s")
        time.sleep(0.1)
    recovery, watched_s = time.monotonic() - mended, LATER_S if fault.how == "lost" else 0.0
    while time.monotonic() - mended < watched_s or progress.waits_s() > STALL_S:
        progress.look(cameras(api))
        time.sleep(0.1)
        if time.monotonic() - begun > HOPELESS_S:
            raise SystemExit(f"{fault}: a camera does not get on")
    return progress.longest_s, recovery


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--footage", type=pathlib.Path, required=True)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--only", default="", help="only faults whose name holds this")
    options = parser.parse_args()
    options.live, options.detect, options.partitions, options.fps, options.loops = 0, 2, 3, 1, "forever"

    end_properly()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-recovery-"))
    work.chmod(0o711)
    print(f"recovery.py: logs are in {work}", file=sys.stderr)
    cluster = Cluster(options, work / "stack", real_time=True)
    names, results = [camera["name"] for camera in cluster.files], {}
    chaos = Chaos(cluster, [])
    try:
        while not all(camera["captured"] for camera in cameras(cluster.stack.api).values()):
            time.sleep(0.5)
        results["nothing"] = {"broken_s": 0, "stall_s": round(watched(cluster.stack.api, names, 20.0).longest_s, 1)}
        for target, how, lasts in FAULTS:
            if options.only not in f"{target} {how}":
                continue
            worst = {"broken_s": lasts, "stall_s": 0.0, "recovery_s": 0.0}
            for _ in range(options.tries):
                watched(cluster.stack.api, names, PEACE_S + random.random())
                stall, recovery = measure(cluster, chaos, names, Fault(0.0, lasts, target, how))
                worst["stall_s"] = max(worst["stall_s"], round(stall, 1))
                worst["recovery_s"] = max(worst["recovery_s"], round(recovery, 1))
            print(f"recovery.py: {target} {how}: {worst}", file=sys.stderr)
            results[f"{target} {how}"] = worst
    finally:
        cluster.stop()
        chaos.stop()
    print(json.dumps(results))
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
