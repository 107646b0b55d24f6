#!/usr/bin/env python3
"""Kills, stops and cuts off random parts of a whole stack, and shows that nothing is lost, doubled or told.

Plays cameras' files through one calm process. Then the same files, and live cameras beside them, through a stack on
RabbitMQ, Postgres and MinIO, while a seeded schedule of rounds sends SIGKILL and SIGSTOP to processes of every role and to
the three servers, and cuts, stalls, loses and slows wires between any two. In the end the files' events, detections and
ledgers must be those of the calm run; each live camera's ledger must close, and every moment of it be in a frame or in a
gap that it names. No password and no token may stand in anything that was written or said. Prints one JSON object; exits 1
where anything of that is not so.
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
from cameras import on_files
from checks import differences, wrong_with_live
from cluster import Cluster, record
from faults import Chaos, schedule, targets
from leaks import Sampler, dump, leaks
from roles import Progress
from servers import end_properly

# A camera that does not get on for so long is worth a line in the diary.
STALL_S = 5.0
# When everybody is at work.
START_S = 120.0


class Disturbed:
    """The run under chaos, and what came of it."""

    def __init__(self, options, directory):
        self.cluster = Cluster(options, directory)
        self.faults = schedule(random.Random(options.seed), targets(self.cluster), options.rounds, options.pause)
        self.chaos = Chaos(self.cluster, self.faults)
        self.names = [camera["name"] for camera in self.cluster.files]
        self.live = [camera.name for camera in self.cluster.live]
        self.progress = Progress([*self.names, *self.live])
        self.begun = time.monotonic()

    def cameras(self):
        """What the API says of them; nothing if it does not answer. Notes who did not get on for long."""
        time.sleep(0.5)
        try:
            cameras = {camera["id"]: camera for camera in self.cluster.stack.api.cameras()}
        except OSError:
            return {}
        for name, stall in self.progress.look(cameras).items():
            if stall > STALL_S:
                self.chaos.note(f"{name} gets on", after_s=round(stall, 1))
        return cameras

    def until(self, what, met, patience_s):
        begun, cameras = time.monotonic(), {}
        while not met(cameras):
            if time.monotonic() - begun > patience_s:
                raise SystemExit(f"{what}: not after {patience_s:.0f} s: {json.dumps(cameras)}")
            cameras = self.cameras()

    def run(self, options):
        everybody, stack = [*self.names, *self.live], self.cluster.stack
        sampler = Sampler(self.cluster)
        sampler.start()
        try:
            begun = lambda cameras: all(cameras.get(name, {}).get("captured") for name in everybody)
            self.until("at work", begun, START_S)
            self.chaos.start()
            ended = lambda cameras: all(cameras.get(name, {}).get("state") == "ended" for name in self.names)
            self.until("files through", ended, options.timeout)
            self.rounds = self.chaos.rounds
            self.until("all mended", lambda _: self.chaos.over(), options.timeout)
            if self.live:
                peace = time.monotonic() + options.peace
                self.until("at peace", lambda _: time.monotonic() > peace, options.timeout)
                self.cluster.end_live()
            stack.until_done(everybody, options.timeout, states=("ended", "failed", "stopped"))
            self.wall = time.monotonic() - self.begun
            self.found, self.lives = record(stack.api, self.names), record(stack.api, self.live)
            (self.cluster.dir / "found.json").write_text(json.dumps([self.found, self.lives]))
            dump(self.cluster)
        finally:
            self.chaos.stop()
            sampler.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detektor", help="the binary")
    parser.add_argument("--footage", type=pathlib.Path, required=True)
    parser.add_argument("--cameras", type=int, default=2, help="cameras that play the footage, every other in real time")
    parser.add_argument("--live", type=int, default=1, help="live RTSP cameras")
    parser.add_argument("--detect", type=int, default=2, help="detect workers")
    parser.add_argument("--loops", type=int, default=8, help="how often each camera plays the footage")
    parser.add_argument("--fps", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two rounds, on average")
    parser.add_argument("--peace", type=float, default=10.0, help="seconds without faults at the end, for live cameras")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1800.0)
    parser.add_argument("--keep", action="store_true", help="keep data and logs of a run that shows nothing wrong")
    options = parser.parse_args()
    end_properly()

    work = pathlib.Path(tempfile.mkdtemp(prefix="detektor-chaos-"))
    work.chmod(0o711)
    print(f"chaos.py: seed {options.seed}; logs and diary are in {work}", file=sys.stderr)
    calm = Alone(options.detektor, work / "calm", on_files(options), until_done=True)
    calm.finish(options.timeout)
    expected = calm.record()
    run = Disturbed(options, work / "chaos")
    try:
        run.run(options)
    except BaseException:
        print_schedule(run)
        raise
    finally:
        badly = run.cluster.stop()

    lost, doubled = differences(expected, run.found)
    wrong = [f"{name} did not end well: {status}" for name, status in badly.items()]
    for camera in run.cluster.live:
        ledger, looks = run.lives["ledgers"][camera.name], run.lives["detections"][camera.name]
        events = [event for event in run.lives["events"] if event["camera"] == camera.name]
        wrong += [f"{camera.name}: {what}" for what in wrong_with_live(ledger, looks, events, camera.FPS)]
    wrong += leaks(run.cluster.dir, run.cluster.secrets(), run.cluster.credential_files())
    if run.rounds < options.rounds:
        wrong.append("the footage was through before all rounds were; give more --loops")
    if not expected["events"]:
        wrong.append("the calm run saw nothing, so this shows nothing")
    print(
        json.dumps(
            {
                "rounds": run.rounds,
                "seed": options.seed,
                "kills": run.chaos.kills,
                "ended_by_themselves": run.chaos.ended,
                "segments": sum(run.found["ledgers"][name]["segments"] for name in run.names),
                "events": len(expected["events"]),
                "lost": len(lost),
                "doubled": len(doubled),
                "live": {
                    name: {"captured": ledger["captured"], "gaps": len(ledger["gaps"]), "closes": ledger["closes"]}
                    for name, ledger in run.lives["ledgers"].items()
                },
                "secrets_found": sum("holds the secret" in what for what in wrong),
                "wrong": len(wrong),
                "longest_stall_s": round(run.progress.longest_s, 1),
                "wall_s": round(run.wall, 1),
            }
        )
    )
    if lost or doubled or wrong:
        print_schedule(run)
        for what in (lost + doubled + wrong)[:20]:
            print(f"chaos.py: {what}"[:600], file=sys.stderr)
        print(f"chaos.py: seed {options.seed}; see {work}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(work)
    return 0


def print_schedule(run):
    print("chaos.py: the schedule was:", *run.faults, sep="\n  ", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
