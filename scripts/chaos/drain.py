#!/usr/bin/env python3
"""Sends SIGTERM to detect workers, one after the other, while there is more work than they can do.

Each must finish what it holds and be gone within its deadline, and nothing may be delivered twice or fail. Prints one JSON
object; exits 1 otherwise."""

import argparse
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from roles import Stack  # noqa: E402
from servers import Servers, end_properly  # noqa: E402

DRAIN_S, GOODBYE_S = 20, 5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--footage", type=pathlib.Path, required=True)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--detect", type=int, default=3, help="detect workers")
    parser.add_argument("--terms", type=int, default=100)
    parser.add_argument("--timeout", type=float, default=1800.0)
    options = parser.parse_args()
    end_properly()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-drain-"))
    work.chmod(0o711)
    servers = Servers(work / "servers")
    slowest, late, badly = 0.0, 0, 0
    try:
        servers.start(options.detektor, 3)
        counts = {"balancer": 1, "dispatcher": 1, "detect": options.detect, "merge": 1, "events": 1}
        flags = {"detect": ["--workers=1", f"--drain-ms={DRAIN_S * 1000}"]}
        stack = Stack(options.detektor, servers, work, counts, flags=flags)
        stack.start()
        names = [f"cam-{number}" for number in range(options.cameras)]
        footage, how = str(options.footage.absolute()), {"loop": "forever", "detect": {"gate": False, "fps": 2}}
        stack.apply([{"name": name, "url": footage, **how} for name in names], work)
        while stack.depths() == 0:
            time.sleep(0.2)
        for number in range(options.terms):
            worker = stack.of("detect")[number % options.detect]
            begun = time.monotonic()
            worker.tell_to_stop()
            status = worker.await_end(DRAIN_S + GOODBYE_S + 1)
            took = time.monotonic() - begun
            slowest = max(slowest, took)
            late += status is None
            badly += status not in (0, None)
            worker.start()
            # It has to hold something before it is told to stop in its turn.
            time.sleep(0.5)
        failed = {name: ledger["failed"] for name, ledger in stack.api.ledgers(names).items() if ledger["failed"]}
        time.sleep(3)
        again = servers.rabbitmq.ask("overview").get("message_stats", {}).get("redeliver", 0)
        said = "".join(log.read_text() for log in work.glob("detect-*/log"))
        handled, given_back = (
            [int(n) for n in re.findall(rf"report.{what}=(\d+)", said)] for what in ("done", "given_back")
        )
        stack.stop()
    finally:
        servers.stop()
    print(
        json.dumps(
            {
                "terms": options.terms,
                "jobs_done": sum(handled),
                "redeliveries": again,
                "given_back": sum(given_back),
                "failed_jobs": sum(sum(reasons.values()) for reasons in failed.values()),
                "ended_late": late,
                "ended_badly": badly,
                "slowest_s": round(slowest, 2),
                "deadline_s": DRAIN_S + GOODBYE_S,
            }
        )
    )
    if again or failed or late or badly or sum(given_back) or not sum(handled):
        print(f"drain.py: see {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
