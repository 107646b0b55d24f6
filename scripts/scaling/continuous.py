"""Runs until it is told to stop (SIGTERM, SIGINT, or --duration), and ends at the first breach with exit code 1.

Clients ask the events API, live cameras are watched by their ledgers, and cameras on files play the footage wave after wave; each wave
must come to exactly what an undisturbed run comes to. It is a breach if

  - there is no answer for longer than --downtime seconds (`downtime_s`),
  - a live camera has a gap of --gap seconds or more (`gap_s`),
  - a wave lost or doubled anything (`events_lost`, `doubled`), or does not end,
  - a ledger does not close in the end.

Meanwhile, drain and kill nodes: `kubectl drain NODE --ignore-daemonsets --force --delete-emptydir-data`. With --disturb it does that
itself: each node in turn is drained, but for those that hold what there is one of, and then one is killed.
"""

import sys
import threading
import time

import live
import nodes
from kube import CannotRun, Refused
from load import Load, exact, need_live, note_all, settled
from meters import Broker
from probe import Probe, totals
from script import comparing, parser, run, say

FOOTAGE_S = 61
LOOK_EVERY_S = 2.0
# A wave that does not end in this time, disturbed as it may be, has broken down.
WAVE_S = 900


class Breach(Exception):
    """What must not be."""


class Wave:
    """Cameras that play the footage, until they are through."""

    def __init__(self, load, number, options):
        self.load, self.options = load, options
        self.begun, self.still, self.before = time.monotonic(), 0, None
        self.names = load.files(options.cameras, f"wave{number}", loop=options.loops, detect=exact(options.fps))

    def over(self, cameras):
        """Whether all have ended and nothing has moved for a few looks."""
        mine = {name: cameras[name] for name in self.names if name in cameras}
        now = {name: camera["captured"] for name, camera in mine.items()}
        done = len(mine) == len(self.names) and settled(mine)
        self.still = self.still + 1 if done and now == self.before else 0
        self.before = now
        if time.monotonic() - self.begun > self.options.loops * FOOTAGE_S + WAVE_S:
            raise Breach(f"cameras {', '.join(self.names)} do not end: {now}")
        return self.still >= 3


class Watch:
    """Everything that is looked at, and the worst of it."""

    def __init__(self, load, options, reference):
        self.load, self.options, self.reference = load, options, reference
        self.gap_s, self.lost, self.doubled, self.waves = 0.0, 0, 0, 0
        self.lives = load.live(options.live) if options.live else []
        self.since = None
        self.wave = Wave(load, 0, options)
        load.until_running([*self.lives, *self.wave.names])
        self.since = time.time()
        api = load.api
        self.probes = [Probe(api, ["/v1/cameras", "/v1/events?limit=20"], options.pause) for _ in range(options.clients)]
        for probe in self.probes:
            probe.start()

    def look(self):
        down = max(probe.downtime_s() for probe in self.probes)
        if down > self.options.downtime:
            raise Breach(f"no answer for {down:.1f} s: {totals(self.probes)['errors'][-1:]}")
        try:
            cameras = self.load.api.cameras([*self.lives, *self.wave.names], patience_s=0)
            for name in self.lives:
                self.live(name)
        except OSError:
            # The clients above count that.
            return
        if self.wave.over(cameras):
            self.compare()
            self.wave = Wave(self.load, self.waves, self.options)

    def live(self, name):
        ledger = self.load.api.ledger(name)
        # A gap that lasts is as long as it is by now; what is merged lags behind a little.
        gap = live.longest_gap(ledger, self.since, time.time())
        closed = [{**one} for one in ledger["gaps"] if one["until_s"]]
        self.gap_s = max(self.gap_s, live.longest_gap({"gaps": closed}, self.since, time.time()))
        if self.gap_s >= self.options.gap or gap >= self.options.gap + self.options.lag:
            self.gap_s = max(self.gap_s, gap)
            raise Breach(f"{name} has a gap of {max(gap, self.gap_s):.1f} s")

    def compare(self):
        lost, doubled, _ = self.load.compare(self.reference, self.wave.names, self.options.loops)
        self.lost, self.doubled, self.waves = self.lost + len(lost), self.doubled + len(doubled), self.waves + 1
        note_all("lost", lost)
        note_all("doubled", doubled)
        say(f"wave {self.waves}: {len(lost)} lost, {len(doubled)} doubled; longest gap {self.gap_s} s")
        if not lost and not doubled:
            self.load.drop(self.wave.names)
        else:
            raise Breach(f"wave {self.waves} lost {len(lost)} and doubled {len(doubled)}: {(lost + doubled)[0]}")

    def stop(self):
        for probe in self.probes:
            probe.stop()

    def finish(self):
        """The last wave to its end, and the live cameras' records."""
        self.load.until_done(self.wave.names, self.options.loops * FOOTAGE_S + WAVE_S)
        self.compare()
        if not self.lives:
            return
        self.load.remove(self.lives)
        self.load.until_done(self.lives, 300)
        if wrong := live.wrong(self.load.record(self.lives)):
            note_all("wrong with a live camera", wrong)
            raise Breach(f"live cameras: {len(wrong)} things are wrong: {wrong[0]}")


class Disturber(threading.Thread):
    """Drains each node in turn, then kills one and starts it again."""

    def __init__(self, cluster, options):
        super().__init__(daemon=True)
        self.cluster, self.options, self.done, self.error = cluster, options, [], None

    def run(self):
        try:
            alone = set().union(*nodes.holders(self.cluster).values())
            names = [name for name, node in sorted(nodes.nodes(self.cluster).items()) if node["ready"] and node["worker"]]
            for name in [name for name in names if name not in alone] or names[:1]:
                try:
                    nodes.drain(self.cluster, name)
                    time.sleep(self.options.rest)
                finally:
                    nodes.uncordon(self.cluster, name)
                self.done.append(f"{name} drained")
                self.settle()
            name, _, _ = nodes.choose(self.cluster)
            nodes.node_control("kill", name)
            try:
                time.sleep(60)
            finally:
                nodes.node_control("start", name)
            nodes.until_nodes_ready(self.cluster)
            self.done.append(f"{name} killed and started")
            self.settle()
        except (CannotRun, OSError, Refused) as error:
            self.error = str(error)

    def settle(self):
        nodes.until("all pods ready", lambda: nodes.all_ready(self.cluster), 600)
        time.sleep(self.options.rest)


def measure(cluster, options, limits):
    if options.live:
        need_live(cluster)
    if options.disturb:
        nodes.control()
    broker, breach, disturber = Broker(cluster), None, Disturber(cluster, options)
    with Load(cluster, options.keep) as load:
        reference = load.reference(options.fps, options.reference)
        watch = Watch(load, options, reference)
        broker.look()
        begun = time.monotonic()
        say("running; SIGTERM ends it")
        if options.disturb:
            disturber.start()
        try:
            try:
                while options.duration is None or time.monotonic() - begun < options.duration:
                    watch.look()
                    broker.look()
                    if options.disturb and not disturber.is_alive():
                        break
                    time.sleep(LOOK_EVERY_S)
            except KeyboardInterrupt:
                say("told to stop: waiting for the last wave")
            ran_s = time.monotonic() - begun
            watch.finish()
        except Breach as found:
            breach, ran_s = str(found), time.monotonic() - begun
            say(f"BREACH: {breach}")
        finally:
            watch.stop()
    asked = totals(watch.probes)
    found = {
        "ran_s": round(ran_s, 1), "breach": breach, "downtime_s": asked.pop("downtime_s"), "events_lost": watch.lost,
        "doubled": watch.doubled, "gap_s": watch.gap_s if watch.lives else None, "waves": watch.waves, **asked,
        "redelivered": broker.redelivered(), "disturbed": disturber.done,
    }
    limits.exactly("breach", breach, None)
    limits.at_most("downtime, s", found["downtime_s"], options.downtime)
    limits.at_most("requests without an answer", found["failed_requests"], options.failed)
    limits.exactly("lost", watch.lost, 0)
    limits.exactly("doubled", watch.doubled, 0)
    if watch.lives:
        limits.below("longest gap of a live camera, s", watch.gap_s, options.gap)
    if options.disturb:
        limits.exactly("what went wrong with disturbing", disturber.error, None)
    return found


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--duration", type=float, help="seconds; else until it is told to stop")
    own.add_argument("--disturb", action="store_true", help="drain nodes and kill one, then end")
    own.add_argument("--rest", type=float, default=20.0, help="seconds of peace after each disturbance")
    own.add_argument("--cameras", type=int, default=2, help="cameras on files")
    own.add_argument("--live", type=int, default=3, help="live cameras")
    own.add_argument("--loops", type=int, default=1, help="how often a wave plays the footage, a minute each")
    own.add_argument("--fps", type=int, default=1, help="looks a second")
    own.add_argument("--clients", type=int, default=2)
    own.add_argument("--pause", type=float, default=0.25, help="seconds between a client's requests")
    own.add_argument("--downtime", type=float, default=5.0, help="seconds without any answer that are no breach")
    own.add_argument("--failed", type=int, default=0, help="requests that may fail, each after having been asked again for 5 s")
    own.add_argument("--gap", type=float, default=5.0, help="seconds from which on a gap is a breach")
    own.add_argument("--lag", type=float, default=30.0, help="seconds by which a gap that lasts may be told late")
    comparing(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
