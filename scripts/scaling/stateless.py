"""Kills random pods of all roles under load, and shows that every request and every segment succeeds.

Clients ask the events API without pause (see probe.py for what counts as a request that failed), while cameras play footage. Each
role's pods are killed (SIGKILL, see kill.py) and deleted, as an eviction does, by turns. Of the role that answers requests one ready pod
is always left. Segments have failed whose frames failed, or whose events and looks are not those of an undisturbed run. Writes
test_results.log beside the JSON object, with the line `failed: 0` if all is well; until it is known, it says so.
"""

import json
import pathlib
import random
import sys
import time

import nodes
from kill import kill
from kube import COMPONENTS
from load import Load, exact, note_all
from meters import Broker
from probe import Probe, totals
from script import comparing, parser, run, say

FOOTAGE_S = 61


class Killer:
    """Kills a random pod from time to time. All roles have their turn, in a new order each round."""

    def __init__(self, cluster, seed):
        self.cluster, self.dice, self.turns = cluster, random.Random(seed), []
        self.kills = {component: {"killed": 0, "deleted": 0} for component in COMPONENTS}

    def roles_killed(self):
        return sum(deaths["killed"] > 0 for deaths in self.kills.values())

    def kill(self):
        self.turns = self.turns or self.dice.sample(COMPONENTS, len(COMPONENTS))
        component = self.turns.pop()
        pod = nodes.victim(self.cluster.pods(), [component], self.dice)
        if pod is None:
            say(f"of {component} no pod can be spared")
            return
        deaths = self.kills[component]
        if deaths["killed"] > deaths["deleted"]:
            nodes.delete(self.cluster, pod)
            deaths["deleted"] += 1
        elif kill(self.cluster, pod):
            deaths["killed"] += 1
        else:
            say(f"{pod} was gone before it could be killed")


def paths(names):
    camera = names[0]
    return ["/v1/cameras", "/v1/events?limit=20", f"/v1/cameras/{camera}/ledger", f"/v1/cameras/{camera}/detections?limit=50"]


def measure(cluster, options, limits):
    # What an earlier run found is not to be taken for this one's.
    write_log(options.log, {"failed": "not known yet"})
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
        limits.at_least("roles of which a pod was killed", killer.roles_killed(), len(COMPONENTS) if options.duration >= 180 else 1)
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
