"""Nodes, and what is broken and mended of a cluster.

Nodes are killed, started, cut off and healed by the command in DETEKTOR_NODE_CTL (`kill|start|cut|heal NODE`), which is kind's way
unless it says otherwise.
"""

import json
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import time

from kube import CannotRun, NoAnswer, NotInTime, Refused
from load import LIVE_SERVICE
from script import say

KIND = pathlib.Path(__file__).resolve().parent.parent / "cluster/kind-node"
# What there is one of, by its Service: a node that holds it is not the one to break.
SINGLE = ("postgres", "minio", LIVE_SERVICE)
# As the specification drains.
DRAIN = ["--ignore-daemonsets", "--force", "--delete-emptydir-data"]
DRAIN_S = 300
READY_S = 300


def control():
    """The command that breaks nodes."""
    command = shlex.split(os.environ.get("DETEKTOR_NODE_CTL") or str(KIND))
    if not shutil.which(command[0]):
        raise CannotRun(
            f"nodes cannot be broken: {command[0]} is no program; set DETEKTOR_NODE_CTL to one that takes kill|start|cut|heal NODE"
        )
    return command


def node_control(what, node):
    say(f"node {node}: {what}")
    try:
        done = subprocess.run([*control(), what, node], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"DETEKTOR_NODE_CTL: `{what} {node}` takes more than three minutes") from None
    if done.returncode:
        raise CannotRun(f"DETEKTOR_NODE_CTL: `{what} {node}` exited with {done.returncode}: {done.stdout.strip()[-500:]}")


def nodes(cluster):
    """Nodes by name: whether each is ready and takes pods."""
    found = {}
    for item in cluster.get("/api/v1/nodes")["items"]:
        conditions = {one["type"]: one["status"] for one in item["status"].get("conditions", [])}
        taints = {taint["key"] for taint in item["spec"].get("taints", []) if taint["effect"] != "PreferNoSchedule"}
        worker = "node-role.kubernetes.io/control-plane" not in taints
        found[item["metadata"]["name"]] = {"ready": conditions.get("Ready") == "True", "worker": worker}
    return found


def holders(cluster, services=SINGLE):
    """Which node holds what there is one of."""
    return {service: {pod.node for pod in cluster.pods_of_service(service) if pod.fits} for service in services}


def choose(cluster, wish=None):
    """A node to break: one that has a dispatcher, and nothing that there is one of. Answers it with what it holds, and what makes
    it a bad choice."""
    candidates = [wish] if wish else [name for name, node in sorted(nodes(cluster).items()) if node["ready"] and node["worker"]]
    held = {name: [pod for pod in cluster.pods() if pod.node == name and not pod.terminating] for name in candidates}
    alone = holders(cluster)

    def bad(name):
        reasons = [f"holds {service}, which there is one of" for service, at in alone.items() if name in at]
        if not any(pod.component == "dispatcher" for pod in held[name]):
            reasons.append("holds no dispatcher")
        return reasons

    if not candidates:
        raise CannotRun("no node is ready that could be broken; see `kubectl get nodes`")
    best = min(candidates, key=lambda name: (len(bad(name)), -len(held[name]), name))
    return best, held[best], bad(best)


def until_nodes_ready(cluster, patience_s=READY_S):
    until("all nodes ready", lambda: all(node["ready"] for node in nodes(cluster).values()), patience_s)


def drain(cluster, node, only_ours=False):
    """Evicts a node's pods, and waits until they are gone."""
    ours = ["--pod-selector", f"app.kubernetes.io/instance={cluster.release},app.kubernetes.io/name=detektor"] if only_ours else []
    say(f"node {node}: drain{' of our own pods' if only_ours else ''}")
    try:
        cluster.kubectl("drain", node, *DRAIN, *ours, f"--timeout={DRAIN_S}s", timeout=DRAIN_S + 30)
    except (Refused, NoAnswer) as error:
        raise CannotRun(f"node {node} cannot be drained: {str(error)[-700:]}") from None


def uncordon(cluster, node):
    say(f"node {node}: uncordon")
    cluster.kubectl("uncordon", node)


def delete(cluster, pod):
    """Deletes a pod, as an eviction does: it is asked to end, and another one takes its place."""
    say(f"pod {pod}: deleted")
    cluster.kubectl("delete", "pod", "-n", cluster.namespace, pod.name, "--wait=false", "--ignore-not-found")


def one_of(cluster, service):
    """The pod behind a Service that there is one of."""
    pods = cluster.pods_of_service(service)
    if not pods:
        raise CannotRun(
            f"no pod behind the Service {service} in namespace {cluster.namespace}, so it cannot be broken: a server elsewhere has to "
            "be broken by hand; leave this fault out with --only"
        )
    return next((pod for pod in pods if pod.ready), pods[0])


def leader(cluster, service):
    """The pod of RabbitMQ that leads most queues of work."""
    pods = [pod for pod in cluster.pods_of_service(service) if pod.ready]
    if not pods:
        return one_of(cluster, service)
    call = ["exec", "-n", cluster.namespace, pods[0].name, "--", "rabbitmqctl", "-q", "list_queues", "--formatter", "json"]
    try:
        queues = json.loads(cluster.kubectl(*call, "name", "leader", timeout=60))
    except (Refused, NoAnswer, ValueError) as error:
        say(f"who leads cannot be asked ({str(error)[-200:]}); {pods[0].name} it is")
        return pods[0]
    return leading(pods, queues)


def leading(pods, queues):
    """Members are called rabbit@POD, with or without a domain."""
    leaders = [queue["leader"].partition("@")[2].partition(".")[0] for queue in queues if queue.get("leader")]
    return max(pods, key=lambda pod: leaders.count(pod.name))


def until(what, met, patience_s):
    """Waits; answers how many seconds it took."""
    begun = time.monotonic()
    while True:
        try:
            if met():
                return time.monotonic() - begun
        except OSError:
            pass
        if time.monotonic() - begun > patience_s:
            raise NotInTime(f"{what}: not after {patience_s:.0f} s; see `kubectl get pods -A -o wide` and `kubectl get events`")
        time.sleep(1)


def all_ready(cluster, services=("rabbitmq", "postgres", "minio")):
    """Whether as many pods of each role are ready as are wanted, but for those that fit nowhere, and the servers too."""
    for item in cluster.ours(cluster.apps("deployments")):
        component = item["metadata"]["labels"].get("app.kubernetes.io/component")
        pods = [pod for pod in cluster.pods(component) if not pod.terminating]
        if any(pod.fits and not pod.ready for pod in pods) or len(pods) < item["spec"].get("replicas", 1):
            return False
    for service in services:
        for item in cluster.get(cluster.apps("statefulsets"))["items"]:
            if item["metadata"]["name"] == service and item["status"].get("readyReplicas", 0) < item["spec"].get("replicas", 1):
                return False
    return True


def victim(pods, deployments, dice=random):
    """A random pod that may die: never the last that is ready of the role that answers requests, since nobody could then."""
    ready = [pod for pod in pods if pod.ready]
    may = [
        pod for pod in ready if pod.component != "events" or sum(other.component == "events" for other in ready) >= 2
    ]
    components = sorted({pod.component for pod in may if pod.component in deployments})
    if not components:
        return None
    component = dice.choice(components)
    return dice.choice([pod for pod in may if pod.component == component])
