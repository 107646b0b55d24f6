"""A cluster that Detektor runs on, by kubectl and any KUBECONFIG.

What is only read goes through one `kubectl proxy`, which knows how to log in to any cluster and costs no process a question.
"""

import atexit
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

CONFIG = "/etc/detektor/detektor.toml"
CONTAINER_PORT = 8080
# By component: what is named so in labels.
COMPONENTS = ("dispatcher", "detection", "merge", "events", "balancer")


class CannotRun(Exception):
    """A test cannot be run here: what is missing, and what to do about it."""


class NotInTime(CannotRun):
    """What a test waits for does not come to be: that is what it found."""


class NoAnswer(OSError):
    """Something in the cluster did not answer, which may be over in a moment."""


class Refused(Exception):
    """The API server, or a command in a pod, answered that it cannot be done."""


class Pod:
    """A pod as the API server has it."""

    def __init__(self, item):
        meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
        conditions = {one["type"]: one["status"] == "True" for one in status.get("conditions", [])}
        self.name, self.labels = meta["name"], meta.get("labels", {})
        self.component = self.labels.get("app.kubernetes.io/component", "")
        self.terminating = "deletionTimestamp" in meta
        self.node, self.phase = spec.get("nodeName"), status.get("phase")
        self.fits = self.node is not None
        self.ready = conditions.get("Ready", False) and not self.terminating
        statuses = status.get("containerStatuses", [])
        self.restarts = sum(one.get("restartCount", 0) for one in statuses)
        # As the node's control groups name them.
        self.containers = [one["containerID"].rpartition("/")[2] for one in statuses if "running" in one.get("state", {})]

    def __repr__(self):
        return f"{self.name} on {self.node}"


class Cluster:
    """Detektor's release in its namespace."""

    def __init__(self):
        self.namespace = os.environ.get("DETEKTOR_NAMESPACE") or "detektor"
        self.release = os.environ.get("DETEKTOR_RELEASE") or "detektor"
        self.proxy, self.base, self.lock = None, None, threading.Lock()

    # Commands.

    def kubectl(self, *arguments, stdin=None, timeout=60):
        """What kubectl printed. Refused where it ended badly, with what it said."""
        call = ["kubectl", *map(str, arguments)]
        try:
            done = subprocess.run(call, input=stdin or "", capture_output=True, text=True, timeout=timeout)
        except FileNotFoundError:
            raise CannotRun("kubectl is not on the PATH: install it, or add where it is to PATH") from None
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"kubectl {' '.join(call[1:4])} …: no answer within {timeout} s") from None
        if done.returncode:
            raise Refused(done.stderr.strip() or f"kubectl {' '.join(call[1:4])} … exited with {done.returncode}")
        return done.stdout

    def detektor(self, *arguments, stdin=None, timeout=120, patience_s=90):
        """Runs a command of the binary in a pod of the balancer, and answers what it printed. Another pod is tried where one
        is gone, or does not answer."""
        begun, error = time.monotonic(), None
        while error is None or time.monotonic() - begun < patience_s:
            ready = [pod for pod in self.pods("balancer") if pod.ready]
            for pod in ready:
                call = ["exec", "-n", self.namespace, *(["-i"] if stdin is not None else []), pod.name, "-c", "balancer"]
                call += ["--", "detektor", *arguments, "--config", CONFIG]
                try:
                    return self.kubectl(*call, stdin=stdin, timeout=timeout)
                except Refused as refused:
                    if "command terminated with exit code" in str(refused):
                        raise
                    error = refused
                except NoAnswer as silent:
                    error = silent
            error = error or "no pod of the balancer is ready"
            time.sleep(1)
        raise CannotRun(
            f"`detektor {' '.join(arguments)}` cannot be run in namespace {self.namespace}: {error}; see `kubectl get pods -n "
            f"{self.namespace} -l app.kubernetes.io/component=balancer`, and set DETEKTOR_NAMESPACE and DETEKTOR_RELEASE if "
            "the release is another one"
        )

    # What is read.

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        """Starts the proxy and sees that there is a cluster."""
        files = os.environ.get("KUBECONFIG") or str(pathlib.Path.home() / ".kube/config")
        if not any(pathlib.Path(file).exists() for file in files.split(":")) and "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise CannotRun(f"no cluster: there is no file {files}; set KUBECONFIG to one that leads to a cluster")
        self.start_proxy()
        atexit.register(self.close)
        try:
            self.get("/version", patience_s=10)
        except (OSError, Refused) as error:
            self.close()
            raise CannotRun(f"the cluster does not answer: {error}; is KUBECONFIG the right one?") from None

    def start_proxy(self):
        try:
            self.proxy = subprocess.Popen(
                ["kubectl", "proxy", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )
        except FileNotFoundError:
            raise CannotRun("kubectl is not on the PATH: install it, or add where it is to PATH") from None
        line = self.proxy.stdout.readline()
        if "127.0.0.1:" not in line:
            self.close()
            raise CannotRun(f"`kubectl proxy` does not start: {line.strip()}; is KUBECONFIG the right one?")
        # What it says later is not to fill its pipe.
        threading.Thread(target=self.proxy.stdout.read, daemon=True).start()
        self.base = f"http://127.0.0.1:{line.strip().rpartition(':')[2]}"

    def close(self):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy = None

    def request(self, path, headers=None, data=None, timeout=10):
        """Status, headers and body of an answer of the API server, or of a pod that it asked for us. NoAnswer where neither
        did: what the API server says when it does not reach a pod counts as none."""
        with self.lock:
            if self.proxy is None or self.proxy.poll() is not None:
                self.start_proxy()
        request = urllib.request.Request(self.base + path, headers=headers or {}, data=data)
        try:
            with OPENER.open(request, timeout=timeout) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            if error.code >= 500 and is_status(body):
                raise NoAnswer(said(body)) from None
            return error.code, error.headers, body
        except OSError as error:
            raise NoAnswer(f"{path}: {error}") from None
        except http.client.HTTPException as error:
            raise NoAnswer(f"{path}: half an answer: {error!r}") from None

    def text(self, path, timeout=10):
        status, _, body = self.request(path, timeout=timeout)
        if status != 200:
            raise Refused(f"{path}: {said(body)}" if is_status(body) else f"{path}: status {status}")
        return body.decode(errors="replace")

    def get(self, path, patience_s=30, **query):
        """An object of the API server. It may be away for a moment."""
        path += f"?{urllib.parse.urlencode(query)}" if query else ""
        begun = time.monotonic()
        while True:
            try:
                return json.loads(self.text(path))
            except OSError:
                if time.monotonic() - begun > patience_s:
                    raise
                time.sleep(0.5)

    def ours(self, path, component=None):
        """Objects with the release's labels."""
        labels = f"app.kubernetes.io/instance={self.release}"
        labels += f",app.kubernetes.io/component={component}" if component else ""
        return self.get(path, labelSelector=labels)["items"]

    def core(self, kind):
        return f"/api/v1/namespaces/{self.namespace}/{kind}"

    def apps(self, kind):
        return f"/apis/apps/v1/namespaces/{self.namespace}/{kind}"

    def pods(self, component=None):
        """Pods of the release, by name; not those of jobs, nor what is left of pods that ended."""
        pods = [pod for pod in map(Pod, self.ours(self.core("pods"), component)) if pod.component in COMPONENTS]
        return sorted((pod for pod in pods if pod.phase not in ("Failed", "Succeeded")), key=lambda pod: pod.name)

    def pods_of_service(self, name):
        """Pods behind a Service, by its selector."""
        try:
            selector = self.get(self.core(f"services/{name}"))["spec"].get("selector")
        except Refused:
            return []
        if not selector:
            return []
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        return sorted(map(Pod, self.get(self.core("pods"), labelSelector=labels)["items"]), key=lambda pod: pod.name)

    def deployment(self, component):
        found = self.ours(self.apps("deployments"), component)
        if not found:
            raise CannotRun(
                f"no Deployment of {component} in namespace {self.namespace} with the label app.kubernetes.io/instance="
                f"{self.release}: `helm install {self.release} charts/detektor -n {self.namespace}` makes it; set "
                "DETEKTOR_NAMESPACE and DETEKTOR_RELEASE if it is elsewhere"
            )
        return found[0]

    def scaled_object(self, component):
        """KEDA's object that scales a component."""
        target, path = self.deployment(component)["metadata"]["name"], "/apis/keda.sh/v1alpha1"
        try:
            items = self.get(f"{path}/namespaces/{self.namespace}/scaledobjects")["items"]
        except Refused:
            raise CannotRun("the cluster has no KEDA: install it with the values in keda/ (keda.sh/docs/deploy)") from None
        for item in items:
            if item["spec"]["scaleTargetRef"]["name"] == target:
                return item
        raise CannotRun(f"no ScaledObject scales {target}: install the chart with keda.enabled=true")

    def autoscaler(self, component):
        """The HPA of a component; none where there is none (yet)."""
        target = self.deployment(component)["metadata"]["name"]
        items = self.get(f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers")["items"]
        return next((item for item in items if item["spec"]["scaleTargetRef"]["name"] == target), None)

    def metrics(self, pod, port=CONTAINER_PORT, path="metrics", timeout=5):
        """What a pod shows to Prometheus."""
        return self.text(f"{self.core('pods')}/{pod.name}:{port}/proxy/{path}", timeout=timeout)

    def describe(self):
        """What figures are to be read with: versions, and how large the nodes are."""
        nodes = self.get("/api/v1/nodes")["items"]
        found = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "kubernetes": self.get("/version")["gitVersion"],
            "keda": None,
            "image": None,
            "servers": {},
            "nodes": [
                {"name": node["metadata"]["name"], **{key: node["status"]["capacity"].get(key) for key in ("cpu", "memory")}}
                for node in nodes
            ],
        }
        for item in keda_operators(self):
            found["keda"] = keda_version(self, item)
        for item in self.ours(self.apps("deployments"), "detection"):
            found["image"] = image_of(item)
        for item in self.get(self.apps("statefulsets"))["items"]:
            found["servers"][item["metadata"]["name"]] = image_of(item)
        return found


def image_of(item):
    return item["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("/")[2]


def keda_version(cluster, operator):
    """As KEDA itself says; else by its image's tag."""
    meta, said = operator["metadata"], None
    try:
        pods = cluster.get(f"/api/v1/namespaces/{meta['namespace']}/pods", labelSelector="app=keda-operator")["items"]
        for pod in pods:
            page = cluster.text(f"/api/v1/namespaces/{meta['namespace']}/pods/{pod['metadata']['name']}:{CONTAINER_PORT}/proxy/metrics")
            said = said or re.search(r'keda_build_info\{.*version="v?(\d[^"]*)"', page)
    except (OSError, Refused):
        pass
    return said[1] if said else image_of(operator).rpartition(":")[2]


def keda_operators(cluster):
    """KEDA's operator, wherever it is installed."""
    query = {"labelSelector": "app=keda-operator"}
    items = cluster.get("/apis/apps/v1/deployments", **query)["items"]
    return items or [
        item for item in cluster.get("/apis/apps/v1/deployments")["items"] if item["metadata"]["name"] == "keda-operator"
    ]


class StayHere(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer."""

    def redirect_request(self, *_):
        return None


def opener(*handlers):
    """Takes a redirect for an answer, and lets no proxy of the environment come between us and the cluster."""
    return urllib.request.build_opener(StayHere, urllib.request.ProxyHandler({}), *handlers)


OPENER = opener()


def is_status(body):
    return b'"kind":"Status"' in body.replace(b" ", b"")[:4096] or body.startswith(b"Error trying to reach service")


def said(body):
    """The sentence in an error of the API server."""
    try:
        return json.loads(body).get("message", "no reason given")
    except ValueError:
        return body[:300].decode(errors="replace").strip()


def end_properly():
    """Has SIGTERM end this script as an exception would: what it started and asked for is to be cleaned up."""
    signal.signal(signal.SIGTERM, lambda *_: raise_interrupt())


def raise_interrupt():
    raise KeyboardInterrupt
