"""A cluster that is none, for the tests here: it answers as the API server, kubectl and the events API do, a hundred times as fast."""

import contextlib
import json
import re
import time
import urllib.parse
from unittest import mock

from kube import Cluster, Refused

FAST = 100
FPS = 30
SLEEP, MONOTONIC, CLOCK = time.sleep, time.monotonic, time.time
FILE_S = 3.0
ROLES = {"dispatcher": 2, "detection": 3, "merge": 2, "events": 2, "balancer": 2}


def fast_clock():
    """Has time go by faster."""
    begun = CLOCK()
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch("time.sleep", lambda seconds: SLEEP(max(seconds, 0) / FAST)))
    stack.enter_context(mock.patch("time.monotonic", lambda: MONOTONIC() * FAST))
    stack.enter_context(mock.patch("time.time", lambda: begun + (CLOCK() - begun) * FAST))
    return stack


def looks(camera, epoch, count=5):
    return [
        {"camera": camera, "epoch": epoch, "frame": 30 * n, "time_s": float(n), "clock": "media", "objects": []} for n in range(count)
    ]


def event(camera, epoch, **more):
    segment = f"{camera}/{epoch}/1"
    return {
        "id": f"{camera}.{epoch}.1.30.0", "camera": camera, "label": "car", "start_s": 1.0, "end_s": 3.0, "revision": 2,
        "first_segment": segment, "last_segment": segment, **more,
    }


def ledger(camera, captured, detected, segments, gaps=(), **more):
    skipped = {"sampling": captured - detected} if captured > detected else {}
    return {
        "camera": camera, "captured": captured, "detected": detected, "skipped": skipped, "failed": {}, "segments": segments,
        "holes": 0, "miscounted": 0, "closes": True, "gaps": list(gaps), **more,
    }


def file_record(camera, passes, base=1000):
    """What a camera on a file comes to; a pass is 150 frames in five segments, and shows one car."""
    epochs = [base + number for number in range(passes)]
    return {
        "ledger": ledger(camera, 150 * passes, 5 * passes, 5 * passes),
        "events": [event(camera, epoch) for epoch in epochs],
        "detections": [look for epoch in epochs for look in looks(camera, epoch)],
    }


def live_record(camera, begun, ended, gap=None):
    """A live camera that was looked at once a second, and of which nothing came during the gap."""
    inside = lambda at: gap and gap[0] <= at < gap[1]  # noqa: E731
    times = [begun + n for n in range(int(ended - begun) + 1) if not inside(begun + n)]
    gone = gap[1] - gap[0] if gap else 0.0
    gaps = [{"from_s": gap[0], "until_s": gap[1], "clock": "unix", "cause": "unattended"}] if gap else []
    captured = int(FPS * max(0.0, ended - begun - gone))
    seen = [{"camera": camera, "epoch": 1, "frame": n, "time_s": at, "objects": []} for n, at in enumerate(times)]
    return {"ledger": ledger(camera, captured, min(captured, len(times)), len(times), gaps), "events": [], "detections": seen}


class World(Cluster):
    """Detektor on three nodes."""

    def __init__(self):
        super().__init__()
        self.ready = {name: True for name in ("node-1", "node-2", "node-3")}
        self.cameras, self.said, self.wanted, self.gaps = {}, [], 3, {}
        self.hot, self.redelivered, self.depth = False, 0, 0
        self.placed, self.keda_says = None, "v2.21.0"
        self.alone = {"postgres": "node-1", "minio": "node-1", "detektor-cameras": "node-1"}
        self.dead, self.pod_numbers = set(), {role: list(range(count)) for role, count in ROLES.items()}
        self.pods_made = 100

    def open(self):
        pass

    # Objects.

    def pod(self, name, node, **labels):
        ready = self.ready.get(node, True)
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": node} if node else {},
            "status": {
                "phase": "Running" if node else "Pending", "conditions": [{"type": "Ready", "status": str(bool(node and ready))}],
                "containerStatuses": [{"containerID": f"containerd://id-of-{name}", "state": {"running": {}}}] if node else [],
            },
        }

    def all_pods(self):
        found, number = [], 0
        for role, numbers in self.pod_numbers.items():
            if role == "detection":
                numbers = range(self.wanted)
            for n in numbers:
                number += 1
                # Six detection pods have room.
                node = f"node-{number % 3 + 1}" if role != "detection" or n < 6 else None
                found.append(self.pod(f"{role}-{n}", node, **self.labels(role)))
        for service, node in self.alone.items():
            found.append(self.pod(f"{service}-0", node, app=service))
        for n in range(3):
            found.append(self.pod(f"rabbitmq-{n}", f"node-{n + 1}", app="rabbitmq"))
        return found

    @staticmethod
    def labels(role):
        return {"app.kubernetes.io/component": role, "app.kubernetes.io/instance": "detektor", "app.kubernetes.io/name": "detektor"}

    def get(self, path, patience_s=0, **query):
        own, _, rest = path.partition("/namespaces/detektor/")
        if path == "/version":
            return {"gitVersion": "v1.37.2"}
        if path == "/api/v1/nodes":
            return {"items": [self.node(name) for name in self.ready]}
        if path.endswith("/deployments") and "namespaces" not in path:
            spec = {"template": {"spec": {"containers": [{"image": "keda:2.20.1"}]}}}
            meta = {"name": "keda-operator", "namespace": "keda"}
            return {"items": [{"metadata": meta, "spec": spec, "status": {"readyReplicas": 1}}]}
        if path == "/api/v1/namespaces/keda/pods":
            return {"items": [{"metadata": {"name": "keda-operator-0"}}]}
        if path == "/apis/metrics.k8s.io/v1beta1/nodes":
            return {"items": [{"metadata": {"name": name}, "usage": {"cpu": "500000000n"}} for name in self.ready]}
        if "apiservices" in path:
            return {"status": {"conditions": [{"type": "Available", "status": "True"}]}}
        if path.startswith("/api/v1/namespaces/kube-system/pods/kill-"):
            return {"status": {"phase": "Succeeded"}}
        if rest.startswith("services/"):
            return {"metadata": {"name": rest[9:]}, "spec": {"selector": {"app": rest[9:]}}}
        if rest.startswith("secrets/"):
            return {"data": {"token": "c2VjcmV0"}}
        items = {
            "pods": self.all_pods, "services": self.services, "deployments": self.deployments, "statefulsets": list,
            "scaledobjects": self.scaled, "horizontalpodautoscalers": self.scalers, "poddisruptionbudgets": self.budgets,
        }[rest]()
        labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        return {"items": [one for one in items if labels.items() <= one["metadata"].get("labels", {}).items()]}

    def node(self, name):
        conditions = [{"type": "Ready", "status": str(self.ready[name])}]
        size = {"cpu": "2", "memory": "8Gi"}
        return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": conditions, "capacity": size, "allocatable": size}}

    def services(self):
        meta = {"name": "detektor-events", "labels": self.labels("events")}
        return [{"metadata": meta, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}]

    def deployments(self):
        template = {"spec": {"containers": [{"image": "localhost/detektor:0.1.0"}]}}
        return [
            {"metadata": {"name": f"detektor-{role}", "labels": self.labels(role)},
             "spec": {"replicas": self.wanted if role == "detection" else count, "template": template}}
            for role, count in ROLES.items()
        ]

    def scaled(self):
        spec = {
            "scaleTargetRef": {"name": "detektor-detection"}, "minReplicaCount": 3, "maxReplicaCount": 50,
            "triggers": [{"metadata": {"value": "1.4"}}],
        }
        return [{"metadata": {"name": "detektor-detection"}, "spec": spec}]

    def scalers(self):
        spec = {"scaleTargetRef": {"name": "detektor-detection"}, "minReplicas": 3, "maxReplicas": 50}
        return [{"metadata": {"name": "x"}, "spec": spec, "status": {"desiredReplicas": self.wanted}}]

    def budgets(self):
        return [{"metadata": {"name": "detektor-detection", "labels": self.labels("detection")}, "spec": {"minAvailable": 2}}]

    # Pages for Prometheus.

    def text(self, path, timeout=10):
        if path != "/api/v1/namespaces/keda/pods/keda-operator-0:8080/proxy/metrics" or not self.keda_says:
            raise Refused(f"{path}: not here")
        return f'keda_build_info{{git_commit="",version="{self.keda_says}"}} 1\n'

    def metrics(self, pod, port=8080, path="metrics", timeout=5):
        if port == 8080:
            merged = int(CLOCK() * FAST) % 10**6
            return (
                "detektor_detect_running_batches 1\n"
                f'detektor_merge_closed_to_merged_seconds_bucket{{le="0.1"}} {merged}\n'
                f'detektor_merge_closed_to_merged_seconds_bucket{{le="0.2"}} {merged}\n'
                f'detektor_merge_closed_to_merged_seconds_bucket{{le="+Inf"}} {merged}\n'
            )
        if path == "metrics":
            return f'rabbitmq_global_messages_redelivered_total{{protocol="amqp091"}} {self.redelivered}\n'
        return f'rabbitmq_detailed_queue_messages{{vhost="/",queue="detect.00"}} {self.depth}\n'

    # Commands.

    def kubectl(self, *arguments, stdin=None, timeout=60):
        words = [str(word) for word in arguments]
        self.said.append(" ".join(words))
        if words[0] == "exec" and "--config" in words:
            return self.command(words[words.index("--") + 2 : words.index("--config")], stdin)
        if words[0] == "exec":
            return json.dumps([{"name": "detect.00", "leader": "rabbit@rabbitmq-1.rabbitmq-nodes"}])
        if words[0] == "create":
            self.killed(json.loads(stdin)["spec"]["containers"][0]["env"][0]["value"])
        if words[0] == "logs":
            return (
                '[pod/b] {"message":"rebalanced","camera":"a","from":"dispatcher-0, partition 1","to":"dispatcher-1, partition 1"}\n'
                '[pod/b] {"message":"rebalanced","camera":"b","reason":"not wanted any more"}\n'
            )
        return ""

    def killed(self, containers):
        """Nobody is there for live cameras for a while, where a dispatcher dies."""
        self.said.append(f"killed {containers}")
        if "dispatcher" in containers:
            now = time.time()
            self.gaps.update({name: (now, now + 2) for name in self.cameras if "-live-" in name})

    def command(self, words, stdin):
        if words[:2] == ["cameras", "apply"]:
            for spec in json.loads(stdin)["cameras"]:
                self.cameras[spec["name"]] = {"spec": spec, "born": time.time(), "gone": None}
            self.load()
        elif words[:2] == ["cameras", "list"]:
            return "".join(json.dumps(one["spec"]) + "\n" for one in self.cameras.values() if not one["gone"])
        elif words[:2] == ["cameras", "remove"]:
            for name in words[2:]:
                if self.cameras[name]["gone"]:
                    raise Refused(f"no camera {name}\ncommand terminated with exit code 1")
                self.cameras[name]["gone"] = time.time()
            self.load()
        elif words[0] == "prune":
            del self.cameras[words[-1]]
        elif words[0] == "placement":
            return json.dumps(self.placement())
        return ""

    def load(self):
        """A backlog has as many pods wanted as it is worth; and none are wanted without."""
        greedy = any(not one["spec"].get("real_time", True) and not one["gone"] for one in self.cameras.values())
        self.depth, self.wanted = (320, 50) if greedy else (0, 3)

    def placement(self):
        names = sorted(name for name, one in self.cameras.items() if not one["gone"])
        here = {name: f"dispatcher-{number % 2}" for number, name in enumerate(names)}
        if self.placed is not None:
            here = self.placed(names)
        counts = [sum(at == f"dispatcher-{n}" for at in here.values()) for n in (0, 1)]
        nodes = [{"name": f"dispatcher-{n}", "camera_count": counts[n], "load": 0.01 * counts[n], "leaving": False} for n in (0, 1)]
        rows = [{"camera": name, "dispatcher": at} for name, at in here.items()]
        return {"std_deviation": 0.0, "nodes": nodes, "rebalance_needed": abs(counts[0] - counts[1]) > 2, "cameras": rows}

    # The events API.

    def request(self, path, headers=None, data=None, timeout=10):
        path = path.partition("/proxy")[2]
        if path == "/login":
            return 303, {"Set-Cookie": "detektor=0; Path=/"}, b""
        url = urllib.parse.urlsplit(path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/v1/cameras":
            body = {"cameras": [self.camera(name) for name in list(self.cameras)]}
        elif url.path == "/v1/events":
            body = {"events": self.record(query["camera"])["events"] if "camera" in query else []}
        else:
            name, what = re.fullmatch(r"/v1/cameras/([^/]+)/(ledger|detections)", url.path).groups()
            body = self.record(name)[what] if what == "ledger" else {"detections": self.record(name)[what]}
        return 200, {}, json.dumps(body).encode()

    def camera(self, name):
        one, now = self.cameras[name], time.time()
        loops = one["spec"].get("loop")
        ended = isinstance(loops, int) and now > one["born"] + FILE_S
        state = "ended" if ended else "stopped" if one["gone"] else "running"
        return {"id": name, "state": state, "captured": self.record(name)["ledger"]["captured"], "closes": True}

    def record(self, name):
        one = self.cameras[name]
        if one["spec"]["url"].startswith("rtsp:"):
            until = one["gone"] or time.time()
            gap = self.gaps.get(name)
            return live_record(name, one["born"], until, gap if gap and gap[1] <= until else None)
        loops = one["spec"].get("loop")
        return file_record(name, loops if isinstance(loops, int) else 3)
