"""Cameras that a test wants, and what came of them.

Two kinds. Files play the footage that the image carries: as fast as it is taken, which is a backlog, or in real time. They wait
rather than shed, and what they come to is known exactly. Live ones are RTSP streams of the Service `detektor-cameras`
(configs/k8s/cameras.yaml): they never wait, so whoever is not there for them leaves a gap.
"""

import json
import os
import secrets
import time

from api import Api
from kube import CannotRun, NotInTime, Refused
from passes import Reference
from script import say

FOOTAGE = os.environ.get("DETEKTOR_FOOTAGE") or "/usr/share/detektor/driveway.mov"
LIVE_SERVICE = "detektor-cameras"
LIVE_PORT = 8554
# Passes of an undisturbed run.
CALM_PASSES = 2
ENDED = ("ended", "failed", "stopped")
# So many looks in a row must find everything done, two seconds apart.
SETTLED = 3
# How long what is on its way for removed cameras is waited for.
SETTLED_S = 300
# How long a database that is away is waited for before cameras stay behind.
CLEAN_S = 180


class Load:
    """The cameras of one run. Their names have a prefix of their own, and leaving the context removes them with their history."""

    def __init__(self, cluster, keep=False):
        self.cluster, self.keep = cluster, keep
        self.api = Api(cluster)
        self.prefix = f"load-{secrets.token_hex(2)}-"
        self.count, self.known = 0, []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        begun = time.monotonic()
        while True:
            try:
                return self.clean()
            except Exception as error:
                if isinstance(error, (Refused, OSError)) and time.monotonic() - begun < CLEAN_S:
                    time.sleep(2)
                    continue
                say(f"cameras {self.prefix}* are still wanted: {error}")
                if kind is None:
                    raise
                return None

    def names(self, count, what):
        names = [f"{self.prefix}{what}-{self.count + number:04}" for number in range(count)]
        self.count += count
        self.known += names
        return names

    def apply(self, cameras):
        """Wants these cameras, beside those that are wanted."""
        self.cluster.detektor("cameras", "apply", "-f", "-", stdin=json.dumps({"cameras": cameras}))

    def files(self, count, what="file", footage=None, **how):
        """So many cameras on the footage; answers their names. Exact comparison needs the gate off."""
        how = {"real_time": True, "loop": "forever", **how}
        names = self.names(count, what)
        self.apply([{"name": name, "url": f"file:{footage or FOOTAGE}", **how} for name in names])
        return names

    def live(self, count, what="live", **how):
        """So many live cameras."""
        names = self.names(count, what)
        how = {"detect": {"gate": False, "fps": 1}, **how}
        self.apply([{"name": name, "url": live_url(self.cluster, name), **how} for name in names])
        return names

    def wanted(self):
        lines = self.cluster.detektor("cameras", "list").splitlines()
        return [json.loads(line)["name"] for line in lines if line.strip()]

    def remove(self, names):
        """Wants these no longer; those that nobody wants are passed over."""
        wanted = set(self.wanted())
        if here := [name for name in names if name in wanted]:
            self.cluster.detektor("cameras", "remove", *here)

    def clean(self):
        """Removes all of this run's cameras, and what they left in the database."""
        self.drop(self.known)

    def drop(self, names):
        """Removes cameras with what they left."""
        if not names:
            return
        self.remove(names)
        self.known = [name for name in self.known if name not in names]
        if self.keep:
            return
        say(f"removing {len(names)} cameras {self.prefix}* and their history")
        seen = self.api.cameras(names)

        # What comes for a time that is pruned is ignored, and its ledger would never close.
        self.until("settled", settled, list(seen), SETTLED_S, False)
        for name in seen:
            try:
                self.cluster.detektor("prune", "--all", "--camera", name)
            except Refused as error:
                say(f"history of {name} stays: {error}")

    def until(self, what, met, names, patience_s, strict=True):
        """Waits until `met` holds of these cameras, as the API shows them."""
        begun, cameras = time.monotonic(), {}
        while True:
            try:
                cameras = self.api.cameras(names, patience_s=0)
                if met(cameras):
                    return cameras
            except OSError as error:
                cameras = {"error": str(error)}
            if time.monotonic() - begun > patience_s:
                if strict:
                    raise NotInTime(f"cameras are not {what} after {patience_s:.0f} s: {json.dumps(cameras)[:1500]}")
                return cameras
            time.sleep(1)

    def until_running(self, names, patience_s=180):
        """Until something of each camera is accounted for."""
        def running(cameras):
            return len(cameras) == len(names) and all(camera["captured"] > 0 for camera in cameras.values())

        return self.until("at work", running, names, patience_s)

    def until_done(self, names, patience_s, idle_s=150):
        """Until these have ended, and all that was captured of them is accounted for. Where that does not come to be it is
        waited for as long as anything moves."""
        still, before, begun, moved = 0, None, time.monotonic(), time.monotonic()
        while True:
            time.sleep(2)
            try:
                cameras = self.api.cameras(names, patience_s=10)
            except OSError:
                continue
            now = {name: (camera["captured"], camera["state"]) for name, camera in cameras.items()}
            if now != before:
                before, moved, still = now, time.monotonic(), 0
                continue
            over = len(cameras) == len(names) and ended(cameras)
            still = still + 1 if over and settled(cameras) else 0
            if still >= SETTLED or (over and time.monotonic() - moved > idle_s):
                return cameras
            if time.monotonic() - begun > patience_s:
                raise NotInTime(
                    f"cameras have not ended after {patience_s:.0f} s: {json.dumps(cameras)[:1500]}; give less load, or more time"
                )

    def record(self, names):
        return {name: self.api.record(name) for name in names}

    def reference(self, fps, file=None):
        """What a pass comes to. Read from `file` where it has it; else played now, in real time, so that nothing scales."""
        known = {"footage": FOOTAGE, "fps": fps, "image": self.cluster.describe()["image"]}
        if file and os.path.exists(file):
            with open(file, encoding="utf-8") as text:
                table = json.load(text)
            if table["of"] == known:
                return Reference.of_json(table)
        say(f"playing the footage {CALM_PASSES} times undisturbed")
        names = self.files(1, "calm", loop=CALM_PASSES, detect=exact(fps))
        self.until_running(names)
        self.until_done(names, 900)
        reference = Reference(self.api.record(names[0]), names[0], CALM_PASSES)
        if reference.wrong:
            raise CannotRun(f"no undisturbed run to compare with: {'; '.join(reference.wrong)}")
        if file:
            with open(file, "w", encoding="utf-8") as text:
                json.dump({"of": known, **reference.as_json()}, text)
        return reference

    def compare(self, reference, names, passes=None):
        """What is lost and doubled of files, and their records."""
        lost, doubled, records = [], [], self.record(names)
        for name, record in records.items():
            less, more = reference.compare(record, name, passes)
            lost, doubled = lost + less, doubled + more
        return lost, doubled, records


def ended(cameras):
    """Whether none of these, as the API shows them, captures anything more."""
    return all(camera["state"] in ENDED for camera in cameras.values())


def settled(cameras):
    """Whether all that was captured of them is accounted for, too."""
    return ended(cameras) and all(camera["closes"] for camera in cameras.values())


def exact(fps):
    """What is looked at so that passes can be compared."""
    return {"gate": False, "fps": fps}


def live_url(cluster, name):
    base = os.environ.get("DETEKTOR_CAMERAS_URL") or f"rtsp://{LIVE_SERVICE}.{cluster.namespace}:{LIVE_PORT}"
    return f"{base.rstrip('/')}/{name}"


def need_live(cluster):
    """That there are live cameras to be had."""
    if os.environ.get("DETEKTOR_CAMERAS_URL"):
        return
    if not any(pod.ready for pod in cluster.pods_of_service(LIVE_SERVICE)):
        raise CannotRun(
            f"no live cameras: no pod behind the Service {LIVE_SERVICE} in namespace {cluster.namespace} is ready; `kubectl apply -n "
            f"{cluster.namespace} -f configs/k8s/cameras.yaml` makes them, DETEKTOR_CAMERAS_URL names others (rtsp://HOST:PORT), and "
            "--live=0 goes without"
        )


def note_all(what, lines):
    for line in lines[:20]:
        say(f"{what}: {line[:400]}")
