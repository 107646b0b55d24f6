#!/usr/bin/env python3
"""Kills, stops and cuts off random parts of a whole stack, and shows that nothing is lost and nothing is doubled.

Plays the cameras' files through a stack on RabbitMQ, Postgres and MinIO once undisturbed; then again, while a seeded schedule
of rounds sends SIGKILL and SIGSTOP to processes of every role and to the three servers, and cuts, stalls and slows wires
between any two. In the end events, detections and ledgers must be those of the calm run. Prints one JSON object; exits 1 where
anything is lost or doubled.
"""

import argparse
import json
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from roles import Stack  # noqa: E402
from servers import Servers, write_secret  # noqa: E402
from wires import Wires  # noqa: E402

COUNTS = {"balancer": 2, "dispatcher": 2, "detect": 2, "merge": 2, "events": 1}
FLAGS = {
    "detect": ["--workers=1", "--drain-ms=10000"],
    "merge": ["--hole-wait-ms=3000", "--drain-ms=10000"],
    "balancer": ["--hole-wait-ms=3000", "--interval-ms=500", "--ttl-ms=2500"],
    "dispatcher": ["--beat-ms=500", "--ttl-ms=2500", "--drain-ms=10000"],
}


class Cluster:
    """A stack whose processes reach their servers over wires, each over its own."""

    def __init__(self, options, directory):
        self.dir = directory
        directory.mkdir()
        directory.chmod(0o711)
        self.servers = Servers(directory / "servers")
        self.servers.start(options.detektor, options.partitions)
        self.wires = Wires()
        counts = {**COUNTS, "detect": options.detect}
        self.stack = Stack(options.detektor, self.servers, directory, counts, self.wired, FLAGS)
        self.names = [f"cam-{number}" for number in range(options.cameras)]
        self.stack.start()
        footage = str(options.footage.absolute())
        how = {"loop": options.loops, "detect": {"fps": options.fps}}
        self.stack.apply([{"name": name, "url": footage, **how} for name in self.names], directory)

    def wired(self, name):
        """A configuration that leads over wires of this process's own."""
        text = self.servers.config.read_text()
        servers = self.servers
        ports = {
            "amqp": servers.rabbitmq.port,
            "management": servers.rabbitmq.management,
            "postgres": servers.postgres.port,
            "s3": servers.minio.port,
        }
        for what, port in ports.items():
            wire = self.wires.lay(f"{name} - {what}", port)
            text = re.sub(rf":{port}\b", f":{wire.port}", text)
        file = self.dir / f"{name}.toml"
        write_secret(file, text)
        return file

    def read(self):
        api = self.stack.api
        return {
            "events": api.events(),
            "detections": {name: api.detections(name) for name in self.names},
            "ledgers": api.ledgers(self.names),
        }

    def stop(self):
        try:
            return self.stack.stop()
        finally:
            self.servers.stop()


class Chaos:
    """The rounds. What a round breaks is mended after a while."""

    def __init__(self, cluster, dice, pause):
        self.cluster, self.dice, self.pause = cluster, dice, pause
        self.kills, self.rounds, self.next = {}, 0, 0.0
        self.repairs = []

    def count(self, what, how):
        kills = self.kills.setdefault(what, {})
        kills[how] = kills.get(how, 0) + 1

    def look(self, breaking):
        now = time.monotonic()
        due = [repair for repair in self.repairs if repair[0] <= now]
        self.repairs = [repair for repair in self.repairs if repair[0] > now]
        for _, mend in due:
            mend()
        # Nobody restarts what ended by itself but we.
        for process in self.cluster.stack.roles:
            if process.child.poll() is not None and not any(mend == process.spawn for _, mend in self.repairs):
                self.count(process.role, "ended")
                process.spawn()
        if breaking and now >= self.next:
            self.next = now + self.dice.uniform(0.5, 1.5) * self.pause
            self.round()

    def later(self, mend, longest):
        self.repairs.append((time.monotonic() + self.dice.uniform(0.1, longest), mend))

    def round(self):
        self.rounds += 1
        kind = self.dice.choices(["role", "server", "wire"], [5, 2, 3])[0]
        if kind == "wire":
            wire = self.dice.choice(self.cluster.wires.all)
            mode = self.dice.choice(["cut", "stalled", 0.1])
            self.count(f"wire to {wire.name.split(' - ')[1]}", mode if isinstance(mode, str) else "slowed")
            self.cluster.wires.set(wire, mode)
            self.later(lambda: self.cluster.wires.set(wire, "whole"), 6.0)
            return
        whom = self.cluster.stack.roles if kind == "role" else self.cluster.servers.all
        busy = [mend.__self__ for _, mend in self.repairs if hasattr(mend, "__self__")]
        free = [process for process in whom if process not in busy]
        if not free:
            return
        process = self.dice.choice(free)
        name = getattr(process, "role", process.name)
        if self.dice.random() < 0.7:
            self.count(name, "killed")
            process.kill()
            self.later(process.spawn, 4.0)
        else:
            self.count(name, "paused")
            process.signal(signal.SIGSTOP)
            self.later(process.resume, 8.0)


def play(options, directory, dice=None):
    cluster = Cluster(options, directory)
    chaos = Chaos(cluster, dice, options.pause) if dice else None
    try:
        begun = time.monotonic()
        watch = None
        if chaos:

            def watch():
                # At its end everything is mended, and nothing more is broken.
                chaos.look(breaking=chaos.rounds < options.rounds)

        longest = cluster.stack.until_done(cluster.names, options.timeout, watch)
        wall = time.monotonic() - begun
        return cluster.read(), chaos, longest, wall
    finally:
        failed = cluster.stop()
        if failed:
            print(f"chaos.py: not drained well in the end: {failed}", file=sys.stderr)


def differences(expected, found):
    """Ids of events, names of ledgers and frames that are missing, and those that should not be."""
    lost, doubled = [], []
    known, seen = ({event["id"]: event for event in run["events"]} for run in (expected, found))
    for key, event in known.items():
        if key not in seen:
            lost.append(f"event {key}")
        elif {**seen[key], "revision": 0} != {**event, "revision": 0}:
            lost.append(f"event {key} as it was")
    doubled += [f"event {key}" for key in seen if key not in known]
    if len(found["events"]) != len(seen):
        doubled.append("an event id is listed twice")
    for camera, ledger in expected["ledgers"].items():
        other = found["ledgers"][camera]
        if not other["closes"]:
            lost.append(f"ledger of {camera} does not close: {other}")
        if other != ledger:
            less = other["captured"] < ledger["captured"] or other["segments"] < ledger["segments"]
            (lost if less else doubled).append(f"ledger of {camera}: {other} instead of {ledger}")
        if found["detections"][camera] != expected["detections"][camera]:
            lost.append(f"detections of {camera} differ")
    return lost, doubled


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--footage", type=pathlib.Path, required=True)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--detect", type=int, default=2, help="detect workers")
    parser.add_argument("--loops", type=int, default=3, help="how often each camera plays the footage")
    parser.add_argument("--fps", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two rounds, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1800.0)
    options = parser.parse_args()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-chaos-"))
    work.chmod(0o711)
    print(f"chaos.py: logs are in {work}", file=sys.stderr)
    expected, _, _, calm_s = play(options, work / "calm")
    print(f"chaos.py: the calm run took {calm_s:.0f} s", file=sys.stderr)
    found, chaos, longest, wall_s = play(options, work / "chaos", random.Random(options.seed))
    lost, doubled = differences(expected, found)
    segments = sum(ledger["segments"] for ledger in expected["ledgers"].values())
    print(
        json.dumps(
            {
                "rounds": chaos.rounds,
                "seed": options.seed,
                "kills": chaos.kills,
                "segments": segments,
                "events": len(expected["events"]),
                "lost": len(lost),
                "doubled": len(doubled),
                "longest_stall_s": round(longest, 1),
                "calm_s": round(calm_s, 1),
                "wall_s": round(wall_s, 1),
            }
        )
    )
    if lost or doubled:
        for what in (lost + doubled)[:20]:
            print(f"chaos.py: {what}"[:600], file=sys.stderr)
        print(f"chaos.py: the runs differ; see {work}", file=sys.stderr)
        return 1
    if chaos.rounds < options.rounds:
        print("chaos.py: the footage was through before all rounds were; give more --loops", file=sys.stderr)
        return 1
    if not expected["events"]:
        print("chaos.py: the calm run saw nothing, so this shows nothing", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
