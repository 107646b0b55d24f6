"""Takes from KEDA what it scales by, and shows that no pod goes for that.

First RabbitMQ's management API: the Service that KEDA asks has its port turned to where nobody listens. The load goes meanwhile, so only
KEDA's fallback keeps the pods; once the API is back, they have to go, or this would show nothing. Then KEDA itself: operator and metrics
server are restarted under load. Scaling down is made quick for as long as this takes.

  pods_before, fewest_pods      with the management API away, and with KEDA restarted
  fell_afterwards_s             how long it took until pods were few, once KEDA could see that there is nothing to do; if they do not
                                get so few, this shows nothing, and says so
"""

import json
import sys
import time
import urllib.parse

from kube import CannotRun, Refused, keda_operators
from load import Load, exact
from nodes import until
from operations import PARTITIONS, scaling
from script import parser, run, say

QUICK = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
NOWHERE = 1


class QuickDown:
    """Has pods go as soon as there is nothing to do, for as long as this lasts."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def __enter__(self):
        found = self.cluster.scaled_object("detection")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.before = found["scaleDown"]
        self.patch(QUICK)

    def __exit__(self, *_):
        self.patch(self.before)

    def patch(self, down):
        spec = {"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}}}}
        self.cluster.kubectl("patch", "scaledobject", self.name, "-n", self.cluster.namespace, "--type=merge", "-p", json.dumps(spec))


class Unplugged:
    """Turns the port of the Service that KEDA asks to where nobody listens."""

    def __init__(self, cluster):
        host = urllib.parse.urlparse(cluster.scaled_object("detection")["spec"]["triggers"][0]["metadata"]["host"])
        self.cluster, self.service, port = cluster, host.hostname.split(".")[0], host.port
        try:
            spec = json.loads(cluster.kubectl("get", "service", self.service, "-n", cluster.namespace, "-o", "json"))["spec"]
        except Refused as error:
            raise CannotRun(f"KEDA asks {host.netloc}, and that is no Service in namespace {cluster.namespace}: {error}") from None
        found = [(at, one) for at, one in enumerate(spec["ports"]) if one["port"] == port]
        if not found:
            raise CannotRun(f"the Service {self.service} has no port {port}, where KEDA asks")
        self.at, self.target = found[0][0], found[0][1].get("targetPort", port)

    def __enter__(self):
        say(f"the management API is away: {self.service}")
        self.turn(NOWHERE)

    def __exit__(self, *_):
        say("the management API is back")
        self.turn(self.target)

    def turn(self, target):
        patch = [{"op": "replace", "path": f"/spec/ports/{self.at}/targetPort", "value": target}]
        self.cluster.kubectl("patch", "service", self.service, "-n", self.cluster.namespace, "--type=json", "-p", json.dumps(patch))


def replicas(cluster):
    return cluster.deployment("detection")["spec"].get("replicas", 1)


def fewest(cluster, seconds):
    """The fewest pods that were wanted within so many seconds."""
    seen, begun = [replicas(cluster)], time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(2)
        seen.append(replicas(cluster))
    return min(seen)


def falls_back(cluster):
    conditions = cluster.scaled_object("detection").get("status", {}).get("conditions", [])
    return any(one["type"] == "Fallback" and one["status"] == "True" for one in conditions)


def restart_keda(cluster):
    """Restarts all of KEDA, and waits until it is there again."""
    operators = keda_operators(cluster)
    if not operators:
        raise CannotRun("no deployment of KEDA's operator is to be found")
    namespace = operators[0]["metadata"]["namespace"]
    say(f"KEDA is restarted, in namespace {namespace}")
    cluster.kubectl("rollout", "restart", "deployment", "-n", namespace)
    cluster.kubectl("rollout", "status", "deployment", "-n", namespace, "--timeout=300s", timeout=330)


def measure(cluster, options, limits):
    own = scaling(cluster)
    found = {}
    with QuickDown(cluster, own["name"]), Load(cluster) as load:
        step = load.files(options.cameras, "step", real_time=False, detect=exact(options.fps))
        more = lambda: replicas(cluster) > own["min"]  # noqa: E731
        until("more pods are wanted than the minimum", more, 180)
        with Unplugged(cluster):
            until("KEDA falls back", lambda: falls_back(cluster), 180)
            before = replicas(cluster)
            load.remove(step)
            found["management_api"] = {"pods_before": before, "fewest_pods": fewest(cluster, options.seconds)}
        begun = time.monotonic()
        until("pods go once there is nothing to do", lambda: replicas(cluster) == own["min"], 600)
        found["fell_afterwards_s"] = round(time.monotonic() - begun, 1)

        step = load.files(options.cameras, "step", real_time=False, detect=exact(options.fps))
        until("more pods are wanted than the minimum", more, 180)
        time.sleep(options.calm)
        before = replicas(cluster)
        restart_keda(cluster)
        found["keda_restarted"] = {"pods_before": before, "fewest_pods": fewest(cluster, options.seconds)}
    for what in ("management_api", "keda_restarted"):
        limits.above(f"{what}: pods before", found[what]["pods_before"], own["min"])
        limits.at_least(f"{what}: fewest pods", found[what]["fewest_pods"], found[what]["pods_before"])
    return {**found, "min": own["min"], "max": own["max"]}


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--cameras", type=int, default=PARTITIONS, help="that play as fast as they are taken, for a backlog")
    own.add_argument("--fps", type=int, default=5, help="looks a second")
    own.add_argument("--seconds", type=float, default=60.0, help="how long pods are watched each time")
    own.add_argument("--calm", type=float, default=20.0, help="seconds until the number of pods is looked at")
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
