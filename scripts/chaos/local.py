#!/usr/bin/env python3
"""Kills `detektor run` at random moments and shows that nothing is lost and nothing is doubled.

Runs the cameras once undisturbed and once with `--kills` SIGKILLs, each followed by a restart over the same data
directory. Events, detections and ledger must then be the same byte for byte; then the database is deleted and made
anew from the bucket, and they must be the same again. Prints one JSON object; exits 1 where anything differs.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from alone import KINDS, Alone
from servers import end_properly


def disturbed(options, alone, dice):
    """Runs with kills at random moments, then one to the end."""
    early = 0
    for _ in range(options.kills):
        alone.spawn()
        try:
            alone.child.wait(dice.uniform(0.02, options.longest))
            early += 1  # it was through before its time came
        except subprocess.TimeoutExpired:
            pass
        finally:
            alone.kill()
    alone.finish(options.timeout)
    return early


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--camera", action="append", required=True, help="NAME=FILE, may be given many times")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds a life lasts at the most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one run to the end")
    parser.add_argument("run", nargs="*", help="further arguments for `detektor run`, after --")
    options = parser.parse_args()
    end_properly()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-chaos-"))
    started = time.monotonic()
    tables = [dict(zip(("name", "url"), camera.split("=", 1))) for camera in options.camera]
    calm, killed = (Alone(options.detektor, work / name, tables, True, options.run) for name in ("calm", "killed"))
    found = calm.finish(options.timeout)
    expected = calm.printed()
    early = disturbed(options, killed, random.Random(options.seed))
    after = killed.printed()
    for name in ("detektor.db", "detektor.db-wal", "detektor.db-shm"):
        (killed.data / name).unlink(missing_ok=True)
    with open(killed.log, "ab") as log:
        subprocess.run([options.detektor, "reindex", f"--data-dir={killed.data}"], check=True, stderr=log)
    reindexed = killed.printed()

    differs = [f"{kind} after the kills" for kind in KINDS if after[kind] != expected[kind]]
    differs += [f"{kind} after the reindex" for kind in KINDS if reindexed[kind] != expected[kind]]
    print(
        json.dumps(
            {
                "kills": options.kills - early,
                "ended_before_their_kill": early,
                "seed": options.seed,
                "events": found["events"],
                "bytes": {kind: len(expected[kind]) for kind in KINDS},
                "differs": differs,
                "wall_s": round(time.monotonic() - started, 1),
            }
        )
    )
    if differs:
        print(f"local.py: the runs differ; see {work}", file=sys.stderr)
        return 1
    if not expected["events"] or not expected["detections"]:
        print("local.py: the undisturbed run saw nothing, so this shows nothing", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
