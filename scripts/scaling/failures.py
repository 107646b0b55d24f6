"""Breaks one thing after the other under load, and shows that nothing is lost or doubled.

For each fault, cameras on files and live ones run; then a node is killed, drained or cut off, RabbitMQ's leader is killed, Postgres
or MinIO is restarted, and mended again. In the end the files' events, looks and ledgers must be those of an undisturbed run, every
ledger must close, and each moment of a live camera be in a frame or in a gap that its ledger names.

  dispatcher-kill   a dispatcher's pod is killed, as a crash does (SIGKILL, see kill.py)
  node-kill         a power cut of a node; it boots again after a while
  node-cut          a node is cut off the network, until others have taken over, and healed
  node-drain        `kubectl drain` of a node, and uncordon
  pods-drain        the same of Detektor's own pods alone: RabbitMQ's stay where they are, so nothing may be delivered again
  rabbitmq-leader   the member that leads most queues is killed in the same way
  postgres, minio   each is restarted

`gap_s` is the longest gap of a live camera, `redelivered` what RabbitMQ delivered again.
"""

import json
import sys
import time

import live
import nodes
from kill import kill
from kube import CannotRun, Refused
from load import Load, exact, need_live, note_all
from meters import Broker
from nodes import until
from script import comparing, parser, run, say

# Footage lasts so long, and everything is at rest before and after.
FOOTAGE_S = 61
CALM_S = 10
# A silent node is noticed, and its pods are made elsewhere; Kubernetes' own defaults need six minutes for that.
NODE_GONE_S = 60
FAULTS = ("dispatcher-kill", "node-kill", "node-cut", "node-drain", "pods-drain", "rabbitmq-leader", "postgres", "minio")
OF_NODES = ("node-kill", "node-cut", "node-drain", "pods-drain")


class Breaker:
    """Carries faults out; answers what was broken, with what there is to know about it."""

    def __init__(self, cluster, options, broker):
        self.cluster, self.options, self.broker = cluster, options, broker

    def inflict(self, fault):
        """Breaks it, waits, mends it, and waits until all is ready again."""
        if fault in OF_NODES:
            told = self.node(fault)
        elif fault == "dispatcher-kill":
            told = self.kill(self.dispatcher())
        elif fault == "rabbitmq-leader":
            told = self.kill(nodes.leader(self.cluster, self.broker.service))
        else:
            told = self.restart(nodes.one_of(self.cluster, fault))
        took = until("all pods ready again", lambda: nodes.all_ready(self.cluster), self.options.patience)
        return {**told, "ready_again_s": round(took, 1)}

    def dispatcher(self):
        """The dispatcher with the most live cameras."""
        rows = placement(self.cluster)["cameras"]
        mine = [row["dispatcher"] for row in rows if "-live-" in row["camera"] and row["dispatcher"]]
        pods = [pod for pod in self.cluster.pods("dispatcher") if pod.ready]
        return max(pods, key=lambda pod: mine.count(pod.name))

    def kill(self, pod):
        if not kill(self.cluster, pod):
            raise CannotRun(f"pod {pod} was gone before it could be killed")
        return self.after(pod)

    def restart(self, pod):
        nodes.delete(self.cluster, pod)
        return self.after(pod)

    def after(self, pod):
        time.sleep(3)
        return {"broken": pod.name, "node": pod.node}

    def node(self, fault):
        node, held, bad = nodes.choose(self.cluster, self.options.node)
        told = {"broken": node, "held": sorted(pod.name for pod in held)}
        if bad:
            say(f"node {node} {'; '.join(bad)}, and no other suits better: gaps may be longer")
            told["note"] = bad
        told["broker_there"] = any(pod.node == node for pod in self.broker.pods())
        if fault in ("node-drain", "pods-drain"):
            try:
                nodes.drain(self.cluster, node, only_ours=fault == "pods-drain")
                self.elsewhere(node)
                time.sleep(CALM_S)
            finally:
                nodes.uncordon(self.cluster, node)
            return told
        breaks, mends = ("kill", "start") if fault == "node-kill" else ("cut", "heal")
        nodes.node_control(breaks, node)
        try:
            begun = time.monotonic()
            until("the node is not ready", lambda: not nodes.nodes(self.cluster)[node]["ready"], 180)
            told["noticed_s"] = round(time.monotonic() - begun, 1)
            self.elsewhere(node)
            told["replaced_s"] = round(time.monotonic() - begun, 1)
            time.sleep(max(0.0, NODE_GONE_S - (time.monotonic() - begun)))
        finally:
            nodes.node_control(mends, node)
        nodes.until_nodes_ready(self.cluster)
        return told

    def elsewhere(self, node):
        """Until each role has pods ready that are not on the node, but for those that fit nowhere."""
        def met():
            pods = [pod for pod in self.cluster.pods() if pod.node != node and not pod.terminating]
            return all(pod.ready for pod in pods if pod.fits) and {pod.component for pod in pods if pod.ready} >= {
                "dispatcher", "merge", "events", "balancer"
            }

        until("pods are made elsewhere", met, self.options.patience)


def placement(cluster):
    return json.loads(cluster.detektor("placement", "--json"))


def measure_one(cluster, options, load, reference, fault, limits):
    """One fault under load, and what came of it."""
    broker = Broker(cluster)
    say(f"-- {fault}: {options.cameras} cameras on files, {options.live} live")
    files = load.files(options.cameras, fault, loop=options.loops, detect=exact(options.fps))
    lives = load.live(options.live, f"{fault}-live") if options.live else []
    load.until_running([*files, *lives])
    time.sleep(CALM_S)
    broker.look()
    since = time.time()
    told = Breaker(cluster, options, broker).inflict(fault)
    broken_s = time.time() - since
    broker.look()
    load.until_done(files, options.loops * FOOTAGE_S + options.patience)
    time.sleep(CALM_S)
    if lives:
        load.remove(lives)
        load.until_done(lives, options.patience)
    broker.look()
    lost, doubled, records = load.compare(reference, files, options.loops)
    alive = load.record(lives)
    wrong = live.wrong(alive)
    gap = max((live.longest_gap(one["ledger"], since - 1, live.last_look(one)) for one in alive.values()), default=None)
    closes = all(one["ledger"]["closes"] for one in [*records.values(), *alive.values()])
    found = {
        "fault": fault, **told, "broken_s": round(broken_s, 1), "lost": len(lost), "doubled": len(doubled), "ledger_closes": closes,
        "gap_s": gap, "redelivered": broker.redelivered(), "wrong_with_live": len(wrong),
        "segments": sum(one["ledger"]["segments"] for one in records.values()),
        "live_gaps": sum(len(live.gaps(one["ledger"], since - 1, live.last_look(one))) for one in alive.values()),
    }
    note_all(f"{fault}: lost", lost)
    note_all(f"{fault}: doubled", doubled)
    note_all(f"{fault}: wrong with a live camera", wrong)
    judge(found, options, limits)
    # Not by the context's end alone: the next fault is not to find these.
    load.clean()
    return found


def judge(found, options, limits):
    fault, planned = found["fault"], found["fault"] in ("node-drain", "pods-drain")
    limits.exactly(f"{fault}: lost", found["lost"], 0)
    limits.exactly(f"{fault}: doubled", found["doubled"], 0)
    limits.exactly(f"{fault}: ledger closes", found["ledger_closes"], True)
    limits.exactly(f"{fault}: wrong with live cameras", found["wrong_with_live"], 0)
    if found["gap_s"] is not None:
        if planned:
            limits.at_most(f"{fault}: gap of a live camera, s", found["gap_s"], 0)
        else:
            limits.below(f"{fault}: gap of a live camera, s", found["gap_s"], options.gap)
        if fault == "dispatcher-kill":
            # One that is killed cannot hand its cameras over.
            limits.above(f"{fault}: it was no goodbye, gap of a live camera, s", found["gap_s"], 0)
    # A member of RabbitMQ that goes takes connections along, and what was on them is delivered again.
    if planned and found["redelivered"] is not None and (fault == "pods-drain" or not found["broker_there"]):
        limits.exactly(f"{fault}: redelivered", found["redelivered"], 0)


def measure(cluster, options, limits):
    faults = options.only or FAULTS
    if any(fault in ("node-kill", "node-cut") for fault in faults):
        nodes.control()
    if options.live:
        need_live(cluster)
    results = []
    with Load(cluster, options.keep) as load:
        reference = load.reference(options.fps, options.reference)
        load.clean()
        for fault in faults:
            try:
                results.append(measure_one(cluster, options, load, reference, fault, limits))
            except (CannotRun, OSError, Refused) as error:
                # The others can still be told.
                limits.note(f"{fault}: went through", str(error), "went through", False)
                results.append({"fault": fault, "error": str(error), "ledger_closes": False})
                load.clean()
    known = lambda what: [one[what] for one in results if one.get(what) is not None]  # noqa: E731
    return {
        "faults": results,
        "lost": sum(known("lost")),
        "doubled": sum(known("doubled")),
        "ledger_closes": all(one["ledger_closes"] for one in results),
        "gap_s": max(known("gap_s"), default=None),
        "redelivered": sum(known("redelivered")) if known("redelivered") else None,
    }


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--only", choices=FAULTS, action="append", help="only this fault; may be given again")
    own.add_argument("--cameras", type=int, default=3, help="cameras on files")
    own.add_argument("--live", type=int, default=4, help="live cameras")
    own.add_argument("--loops", type=int, default=3, help="how often each file is played, a minute each")
    own.add_argument("--fps", type=int, default=1, help="looks a second at the files")
    own.add_argument("--gap", type=float, default=5.0, help="seconds that a gap of a live camera has to stay below")
    own.add_argument("--node", help="which node to break, instead of one that holds nothing that there is one of")
    own.add_argument("--patience", type=float, default=600, help="seconds until all has to be ready again")
    comparing(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
