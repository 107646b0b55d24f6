"""Shows that a cluster has what the scaling tests need: nodes that are ready, not busy, and KEDA; with --mesh, a service mesh too."""

import re
import sys

from kube import Refused, keda_operators
from script import parser, run

METRICS_API = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
# As the specification counts.
MESH_PODS = 6
MESHES = {"istio": "istio-system", "linkerd": "linkerd"}
# What a quantity's suffix stands for, in thousandths of a core.
SUFFIX = {"n": 1e-6, "u": 1e-3, "m": 1.0, "": 1e3}


def millis(quantity):
    """A quantity of processor time, in thousandths of a core."""
    number, suffix = re.fullmatch(r"([\d.]+)([a-z]?)", quantity).groups()
    return float(number) * SUFFIX[suffix]


def busy(cluster):
    """How busy each node's processors are, in percent of what it has to give. None where nobody measures."""
    try:
        usage = cluster.get("/apis/metrics.k8s.io/v1beta1/nodes", patience_s=5)["items"]
    except (OSError, Refused):
        return None
    given = {
        node["metadata"]["name"]: millis(node["status"]["allocatable"]["cpu"]) for node in cluster.get("/api/v1/nodes")["items"]
    }
    used = {item["metadata"]["name"]: millis(item["usage"]["cpu"]) for item in usage}
    return {name: round(100 * used[name] / given[name], 1) for name in used if name in given}


def available(cluster):
    """Whether KEDA's metrics can be asked for."""
    try:
        status = cluster.get(METRICS_API, patience_s=0).get("status", {})
    except Refused:
        return False
    return any(one["type"] == "Available" and one["status"] == "True" for one in status.get("conditions", []))


def measure(cluster, options, limits):
    nodes = cluster.get("/api/v1/nodes")["items"]
    ready = [
        node["metadata"]["name"]
        for node in nodes
        if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))
    ]
    limits.at_least("nodes with Ready=True", len(ready), options.nodes)
    load = busy(cluster)
    if load is None:
        limits.note("`kubectl top nodes`", None, "answers: install metrics-server", False)
    else:
        limits.below("busiest node, % of its processors", max(load.values(), default=None), options.busy)
    operators = keda_operators(cluster)
    running = sum(item["status"].get("readyReplicas", 0) for item in operators)
    limits.at_least("ready operators of KEDA", running, 1)
    limits.exactly("KEDA's metrics are served", available(cluster), True)
    found = {"nodes_ready": len(ready), "cpu_percent": load, "keda": running > 0}
    if options.mesh:
        namespace = MESHES[options.mesh]
        pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        found["mesh_pods"] = sum(pod["status"].get("phase") == "Running" for pod in pods)
        limits.at_least(f"running pods in {namespace}", found["mesh_pods"], MESH_PODS)
    return found


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--nodes", type=int, default=3, help="nodes that are wanted at least")
    own.add_argument("--busy", type=float, default=80.0, help="percent that each node's use of its processors has to stay below")
    own.add_argument("--mesh", choices=MESHES, help="a service mesh that has to run; Detektor needs none")
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
