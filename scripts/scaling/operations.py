"""Steps the load up, then takes it away, and shows that detection pods follow the backlog and that nothing is lost by it.

Cameras play the footage as fast as it is taken, so that the queues are full at once; a few others run in real time all the while
(none with --from-zero). Once every pod that was asked for, and for which there is room, has taken work, the step is over: the cameras
are removed, and it is waited until there are as few pods as before.

  scale_up_time_seconds   from the load step until the last pod that was asked for and fits has taken work
  scale_down_graceful     there are as few pods as before, and in all that nothing was delivered again, lost or doubled
  events_lost             what the cameras' passes lack beside an undisturbed run
  wanted_max_s            from the backlog that is worth the maximum until as many pods are wanted, whether they fit or not
  first_work_s            from the load step until the first segment is being worked on: with --from-zero
  p99_ms_at_steps_down    from a segment's end until its events can be read, within 12 s of a step that ends pods; and
  p99_ms_elsewhere_down   what it is on the way down otherwise
  availability_percent    of the time, as a client of the events API sees it all the while

--samples FILE keeps depth, replicas and latency over time, one JSON object a line; scale_plot.py draws them.
"""

import json
import math
import pathlib
import sys
import threading
import time

from kube import CannotRun, NotInTime, Refused
from load import Load, exact, note_all
from meters import WHOLE, Broker, Histograms, histogram, samples, total
from probe import Probe
from script import comparing, parser, run, say

# A pod has taken work once one of these has risen.
WORK = ("detektor_detect_running_batches", "detektor_detect_batch_messages_count", "detektor_detect_settled_messages_total")
# So long after a step that ends pods, those that go are at it: they finish what they hold, and others take over.
STEP_S = 12.0
# The goal for the whole, and how much more it may be around such steps where it is not met elsewhere either.
LATE_MS, LATER = 200.0, 1.5
# As many pods are wanted as ever will be, when that has not changed for two rounds of the autoscaler.
STEADY_S = 35
PARTITIONS = 10
# What a client asks the events API for, all the while.
PATHS = ["/v1/cameras", "/v1/events?limit=20"]


class Sampler(threading.Thread):
    """Writes down every few seconds how much waits, how many pods there are, and how long segments take."""

    def __init__(self, cluster, broker, every, file=None):
        super().__init__(daemon=True)
        self.cluster, self.broker, self.every = cluster, broker, every
        self.histograms, self.before = Histograms(cluster), {}
        self.file = open(file, "w", buffering=1, encoding="utf-8") if file else None
        self.begun, self.all, self.worked, self.merged = time.monotonic(), [], {}, []
        self.told = threading.Event()

    def now(self):
        return time.monotonic() - self.begun

    def run(self):
        while not self.told.is_set():
            began = time.monotonic()
            try:
                self.look()
            except (OSError, Refused, CannotRun) as error:
                say(f"a look fails: {str(error)[:200]}")
            self.told.wait(max(0.1, self.every - (time.monotonic() - began)))

    def look(self):
        pods = [pod for pod in self.cluster.pods("detection") if not pod.terminating]
        for pod in pods:
            if pod.fits and pod.name not in self.worked and works(self.cluster, pod):
                self.worked[pod.name] = self.now()
        replicas = self.cluster.deployment("detection")["spec"].get("replicas", 1)
        autoscaler = self.cluster.autoscaler("detection")
        wanted = autoscaler["status"].get("desiredReplicas", 0) if autoscaler and replicas else replicas
        self.broker.look()
        self.histograms.look()
        found = self.histograms.buckets().get(WHOLE, {})
        new = {border: count - self.before.get(border, 0) for border, count in found.items()}
        self.before = found
        self.merged.append((self.now(), new))
        quantile = lambda share: round(1000 * value, 1) if new and new[math.inf] and (  # noqa: E731
            value := histogram.quantile(new, share)) is not None else None
        sample = {
            "at_s": round(self.now(), 1), "depth": self.broker.depth().get("detect"), "wanted": wanted, "replicas": replicas,
            "fit": sum(pod.fits for pod in pods), "ready": sum(pod.ready for pod in pods),
            "working": sum(pod.name in self.worked for pod in pods), "pods": len(pods),
            "redelivered": self.broker.redelivered(), "merged": new.get(math.inf, 0), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
        }
        self.all.append(sample)
        if self.file:
            self.file.write(json.dumps(sample) + "\n")

    def mark(self, what):
        say(f"{self.now():6.1f} s  {what}")
        if self.file:
            self.file.write(json.dumps({"at_s": round(self.now(), 1), "mark": what}) + "\n")

    def last(self):
        return self.all[-1] if self.all else None

    def stop(self):
        self.told.set()
        if self.is_alive():
            self.join(60)
        if self.file:
            self.file.close()


def works(cluster, pod):
    """Whether a pod has taken any work."""
    try:
        page = samples(cluster.metrics(pod, timeout=2))
    except (OSError, Refused):
        return False
    return any(total(page, name) > 0 for name in WORK)


def scaling(cluster):
    """How KEDA scales detection: least and most pods, and the depth that is worth one."""
    found = cluster.scaled_object("detection")
    spec = found["spec"]
    least, most = spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    return {
        "name": found["metadata"]["name"], "min": least, "max": most, "cooldown_s": spec.get("cooldownPeriod", 300),
        "depth_per_pod": float(spec["triggers"][0]["metadata"]["value"]),
    }


class AtZero:
    """Has KEDA go to zero while this lasts, where it does not anyway."""

    def __init__(self, cluster, own, options):
        self.cluster, self.own, self.needed = cluster, own, options.from_zero and own["min"] > 0
        if self.needed and not options.patch:
            raise CannotRun(
                f"{own['name']} keeps {own['min']} pods at least: install the chart with its profile that scales to zero, or let "
                "--patch set its minimum to 0 for as long as this takes"
            )

    def __enter__(self):
        if self.needed:
            self.patch(0, 30)
        return {**self.own, "min": 0} if self.needed else self.own

    def __exit__(self, *_):
        if self.needed:
            self.patch(self.own["min"], self.own["cooldown_s"])

    def patch(self, least, cooldown_s):
        spec = json.dumps({"spec": {"minReplicaCount": least, "cooldownPeriod": cooldown_s}})
        call = ["patch", "scaledobject", self.own["name"], "-n", self.cluster.namespace, "--type=merge", "-p", spec]
        self.cluster.kubectl(*call)


def wait(sampler, what, met, patience_s, strict=True):
    """Waits until a sample is so, and answers when that was."""
    begun = sampler.now()
    while True:
        last = sampler.last()
        if last and last["at_s"] >= begun and met(last):
            return last["at_s"]
        if sampler.now() - begun > patience_s:
            if strict:
                raise NotInTime(f"{what}: not after {patience_s:.0f} s; the last sample: {json.dumps(last)}")
            return None
        time.sleep(0.2)


def until_scaled(sampler, patience_s):
    """Waits until nothing more is asked for, and all pods that fit have taken work."""
    begun = sampler.now()
    while sampler.now() - begun < patience_s:
        time.sleep(0.5)
        recent = [one for one in sampler.all if one["at_s"] > max(begun, sampler.now() - STEADY_S)]
        last = sampler.last()
        steady = sampler.now() - begun > STEADY_S and recent and all(one["wanted"] == last["wanted"] for one in recent)
        if steady and last["replicas"] == last["wanted"] == last["pods"] and last["working"] == last["fit"] > 0:
            return True
    return False


def figures(taken, worked, stepped, over, own):
    """What the samples of one step say. Times are from the step on."""
    during = [one for one in taken if stepped <= one["at_s"] <= over]
    peak = max((one["wanted"] for one in during), default=0)
    deepest = max((one["depth"] or 0 for one in during), default=0)
    worth = own["max"] * own["depth_per_pod"]
    full = next((one["at_s"] for one in during if (one["depth"] or 0) >= worth), None)
    asked = next((one["at_s"] for one in during if one["wanted"] >= own["max"]), None)
    first = min((at for at in worked.values() if at >= stepped), default=None)
    last = max((at for at in worked.values() if stepped <= at <= over), default=None)
    before = [one for one in taken if one["at_s"] < stepped]
    rounded = lambda value: None if value is None else round(value, 1)  # noqa: E731
    return {
        "from": before[-1]["replicas"] if before else None,
        "wanted": peak,
        "fit": max((one["fit"] for one in during), default=0),
        "deepest_queue": deepest,
        "worth": min(own["max"], max(own["min"], math.ceil(deepest / own["depth_per_pod"]))),
        "scale_up_time_seconds": rounded(None if last is None else last - stepped),
        "first_work_s": rounded(None if first is None else first - stepped),
        "wanted_max_s": rounded(None if asked is None or full is None else max(0.0, asked - full)),
        "wanted_max_from_step_s": rounded(None if asked is None else asked - stepped),
    }


def on_the_way_down(taken, merged, over):
    """p99 latency in milliseconds of what was merged around the steps that end pods, and elsewhere on the way down; the backlog, which
    is late because of the way up, does not count."""
    down = [one for one in taken if one["at_s"] > over]
    worked_off = next((after["at_s"] for before, after in zip(down, down[1:]) if not (before["depth"] or after["depth"])), math.inf)
    steps = [after["at_s"] for before, after in zip(down, down[1:]) if after["replicas"] < before["replicas"]]
    sums = {True: {}, False: {}}
    for at, buckets in merged:
        if at > worked_off:
            whole = sums[any(0 <= at - step <= STEP_S for step in steps)]
            whole.update({border: whole.get(border, 0) + count for border, count in buckets.items()})

    def p99(buckets):
        value = histogram.quantile(buckets, 0.99) if buckets and buckets[math.inf] else None
        return None if value is None else round(1000 * value, 1)

    return {"p99_ms_at_steps_down": p99(sums[True]), "p99_ms_elsewhere_down": p99(sums[False]), "steps_down": len(steps)}


def measure(cluster, options, limits):
    own, broker = scaling(cluster), Broker(cluster)
    with AtZero(cluster, own, options) as own, Load(cluster, options.keep) as load:
        reference = load.reference(options.fps, options.reference)
        load.clean()
        sampler = Sampler(cluster, broker, options.every, options.samples)
        client = Probe(load.api, PATHS, options.pause)
        sampler.start()
        client.start()
        try:
            sampler.mark(f"waiting for {own['min']} pods")
            wait(sampler, f"{own['min']} pods", lambda one: one["replicas"] == one["pods"] == own["min"], options.patience)
            quiet = [] if options.from_zero else load.files(options.background, "quiet", detect=exact(options.fps))
            if quiet:
                load.until_running(quiet)
            time.sleep(options.calm)
            step = load.files(options.cameras, "step", real_time=False, detect=exact(options.fps))
            stepped = sampler.now()
            sampler.mark(f"load: {options.cameras} cameras")
            scaled = until_scaled(sampler, options.patience)
            over = sampler.now()
            sampler.mark("no load")
            load.remove(step)
            redelivered_up = broker.redelivered()
            load.until_done(step, options.patience)
            down = wait(sampler, "few pods", lambda one: one["replicas"] == own["min"] == one["pods"], options.patience, False)
            sampler.mark(f"{own['min']} pods again" if down else "still more pods than before")
            time.sleep(options.calm)
            if quiet:
                load.remove(quiet)
                load.until_done(quiet, 300)
        finally:
            client.stop()
            sampler.stop()
        asked_s = sampler.now()
        broker.look()
        lost, doubled, records = load.compare(reference, [*step, *quiet])
    note_all("lost", lost)
    note_all("doubled", doubled)
    again = broker.redelivered()
    found = {
        **figures(sampler.all, sampler.worked, stepped, over, own),
        **on_the_way_down(sampler.all, sampler.merged, over),
        "to": own["min"] if down else sampler.last()["replicas"],
        "scale_down_seconds": None if down is None else round(down - over, 1),
        "scale_down_graceful": down is not None and not lost and not doubled and not (again or 0) - (redelivered_up or 0),
        "events_lost": len(lost), "doubled": len(doubled), "redelivered": again,
        "segments": sum(record["ledger"]["segments"] for record in records.values()),
        "requests": client.requests, "failed_requests": client.failed,
        "availability_percent": round(100 * (1 - client.unanswered_s / asked_s), 3),
        "min": own["min"], "max": own["max"], "depth_per_pod": own["depth_per_pod"],
        "samples": options.samples and pathlib.Path(options.samples).name,
    }
    found["pending"] = found["wanted"] - found["fit"]
    judge(found, scaled, options, limits)
    return found


def judge(found, scaled, options, limits):
    limits.exactly("every pod that was asked for and fits took work", scaled, True)
    limits.below("scale_up_time_seconds", found["scale_up_time_seconds"], options.up)
    limits.at_least("pods wanted, of what the backlog is worth", found["wanted"], math.ceil(0.8 * found["worth"]))
    limits.above("pods wanted", found["wanted"], found["from"] or 0)
    if found["worth"] == found["max"]:
        limits.at_most(f"{found['max']} wanted, s", found["wanted_max_s"], options.wanted)
    if options.from_zero:
        limits.exactly("pods before", found["from"], 0)
        limits.at_most("first segment in work, s", found["first_work_s"], options.first)
    limits.exactly("pods after", found["to"], found["min"])
    limits.exactly("scale_down_graceful", found["scale_down_graceful"], True)
    if found["p99_ms_at_steps_down"] is not None:
        late = max(LATE_MS, LATER * (found["p99_ms_elsewhere_down"] or 0))
        limits.at_most("p99 around steps that end pods, ms (200, or half as much again as elsewhere)", found["p99_ms_at_steps_down"], late)
    limits.at_least("availability, %", found["availability_percent"], 99.9)
    limits.exactly("events_lost", found["events_lost"], 0)
    limits.exactly("doubled", found["doubled"], 0)
    if found["redelivered"] is not None:
        limits.exactly("redelivered", found["redelivered"], 0)


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--from-zero", action="store_true", help="0 -> N -> 0 instead of the minimum -> N -> the minimum")
    own.add_argument("--patch", action="store_true", help="with --from-zero: set KEDA's minimum to 0 for as long as this takes")
    own.add_argument("--cameras", type=int, default=PARTITIONS, help="of the step; one keeps a queue full")
    own.add_argument("--background", type=int, default=3, help="cameras in real time, all the while")
    own.add_argument("--fps", type=int, default=1, help="looks a second")
    own.add_argument("--pause", type=float, default=0.25, help="seconds between the requests of a client of the events API")
    own.add_argument("--every", type=float, default=2.0, help="seconds from one sample to the next")
    own.add_argument("--calm", type=float, default=20.0, help="seconds of peace before and after")
    own.add_argument("--patience", type=float, default=1800.0, help="seconds until pods have to be few again")
    own.add_argument("--up", type=float, default=60.0, help="seconds that the way up has to stay below")
    own.add_argument("--wanted", type=float, default=25.0, help="seconds until the maximum has to be wanted")
    own.add_argument("--first", type=float, default=20.0, help="seconds until the first segment has to be in work, from zero")
    own.add_argument("--samples", default=None, help="a file for what the plot is drawn from")
    comparing(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
