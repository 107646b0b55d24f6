"""Kills random pods of all roles under load, and shows that every request and every segment succeeds.

Clients ask the events API without pause (see probe.py for what counts as a request that failed), while cameras play footage. Each
pod that dies is killed at once, or deleted as an eviction does, by turns. Of the role that answers requests one ready pod is
always left. Segments have failed whose frames failed, or whose events and looks are not those of an undisturbed run. Writes
test_results.log beside the JSON object, with the line `failed: 0` if all is well.
"""

import json
import pathlib
import random
import sys
import time

import nodes
from kube import COMPONENTS
from load import Load, exact, note_all
from meters import Broker
from probe import Probe, totals
from script import comparing, parser, run, say

FOOTAGE_S = 61
FORCED = {True: "killed", False: "deleted"}


class Killer:
    """Kills a random pod from time to time. All roles have their turn, in a new order each round."""

    def __init__(self, cluster, seed):
        self.cluster, self.dice, self.kills, self.turns, self.count = cluster, random.Random(seed), {}, [], 0

    def kill(self):
        self.turns = self.turns or self.dice.sample(COMPONENTS, len(COMPONENTS))
        component = self.turns.pop()
        pod = nodes.victim(self.cluster.pods(), [component], self.dice)
        if pod is None:
            say(f"of {component} no pod can be spared")
            return
        how = FORCED[self.count % 2 == 0]
        self.count += 1
        nodes.delete(self.cluster, pod, force=how == "killed")
        kills = self.kills.setdefault(component, {})
        kills[how] = kills.get(how, 0) + 1


def paths(names):
    camera = names[0]
    return ["/v1/cameras", "/v1/events?limit=20", f"/v1/cameras/{camera}/ledger", f"/v1/cameras/{camera}/detections?limit=50"]


def measure(cluster, options, limits):
    broker, loops = Broker(cluster), -(-(options.duration + 30) // FOOTAGE_S)
    with Load(cluster, options.keep) as load:
        reference = load.reference(options.fps, options.reference)
        files = load.files(options.cameras, loop=loops, detect=exact(options.fps))
        load.until_running(files)
        broker.look()
        probes = [Probe(load.api, paths(files), options.pause) for _ in range(options.clients)]
        say(f"{options.clients} clients ask {load.api.route}")
        killer = Killer(cluster, options.seed)
        for probe in probes:
            probe.start()
        try:
            begun = time.monotonic()
            while (left := options.duration - (time.monotonic() - begun)) > 0:
                time.sleep(min(left, options.every))
                if options.kill_random_pods and left > options.every:
                    killer.kill()
        finally:
            for probe in probes:
                probe.stop()
        load.until_done(files, loops * FOOTAGE_S + 600)
        broker.look()
        lost, doubled, records = load.compare(reference, files, loops)
    asked = totals(probes)
    segments = sum(record["ledger"]["segments"] for record in records.values())
    found = {
        "requests": asked.pop("requests"), "failed": asked["failed_requests"] + len(lost) + len(doubled), **asked,
        "segments": segments, "failed_segments": len(lost) + len(doubled), "lost": len(lost), "doubled": len(doubled),
        "kills": killer.kills, "redelivered": broker.redelivered(), "asked": str(load.api.route),
    }
    note_all("lost", lost)
    note_all("doubled", doubled)
    note_all("request failed", asked["errors"])
    limits.exactly("requests and segments that failed", found["failed"], 0)
    limits.above("requests", found["requests"], 0)
    limits.above("segments", segments, 0)
    if options.kill_random_pods:
        limits.at_least("roles of which a pod died", len(killer.kills), len(COMPONENTS) if options.duration >= 180 else 1)
    write_log(options.log, found)
    return found


def write_log(path, found):
    lines = [f"{key}: {value if isinstance(value, (int, str)) else json.dumps(value)}" for key, value in found.items()]
    pathlib.Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--kill-random-pods", action="store_true", help="else nothing is killed")
    own.add_argument("--duration", type=int, default=240, help="seconds")
    own.add_argument("--every", type=float, default=12.0, help="seconds from one kill to the next")
    own.add_argument("--clients", type=int, default=4)
    own.add_argument("--pause", type=float, default=0.2, help="seconds between a client's requests")
    own.add_argument("--cameras", type=int, default=3, help="cameras on files")
    own.add_argument("--fps", type=int, default=1, help="looks a second")
    own.add_argument("--seed", type=int, default=1)
    own.add_argument("--log", default="test_results.log", help="where `failed: 0` is written")
    comparing(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
