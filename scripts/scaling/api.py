"""The events API of a release, as its users reach it.

Three ways, the first one that answers: DETEKTOR_EVENTS_URL; the Service's own address, where this machine has a route to it; the
API server's proxy to the Service. That proxy keeps `Authorization` for itself, so we log in as a browser does, with the
cookie. No way leads over one certain pod: a pod that dies takes no route along.
"""

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

from kube import CannotRun, NoAnswer, Refused, opener

PAGE = 500
# The kernel takes a connection, however busy its program is.
CONNECT_S = 0.3


class Quick(http.client.HTTPConnection):
    """Waits shorter for a connection than for an answer: a pod whose node is gone takes none, and a Service leads there until Kubernetes
    notices."""

    def connect(self):
        patience, self.timeout = self.timeout, min(self.timeout, CONNECT_S)
        try:
            super().connect()
        finally:
            self.timeout = patience
        self.sock.settimeout(patience)


class Quickly(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(Quick, request)


OPENER = opener(Quickly())


class Direct:
    """The API at an address of its own."""

    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/"), token

    def __str__(self):
        return self.url

    def ask(self, path, timeout):
        """Status and body of an answer. NoAnswer where there was none."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with OPENER.open(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{path}: {error!r}") from None


class Proxied:
    """The API through the API server."""

    def __init__(self, cluster, service, token):
        self.cluster, self.token, self.cookie = cluster, token, None
        name = service["metadata"]["name"]
        self.path = f"{cluster.core('services')}/{name}:{service['spec']['ports'][0]['port']}/proxy"

    def __str__(self):
        return f"the API server's {self.path}"

    def ask(self, path, timeout):
        if self.cookie is None:
            self.log_in(timeout)
        status, _, body = self.cluster.request(self.path + path, headers={"Cookie": self.cookie}, timeout=timeout)
        return status, body

    def log_in(self, timeout):
        form = urllib.parse.urlencode({"token": self.token}).encode()
        status, headers, _ = self.cluster.request(self.path + "/login", data=form, timeout=timeout)
        cookie = (headers.get("Set-Cookie") or "").partition(";")[0]
        if status != 303 or not cookie.partition("=")[2]:
            raise CannotRun(
                f"the events API did not take the token by /login (status {status}): is it the one of the secret that the chart's "
                "events.secret names? Else set DETEKTOR_EVENTS_URL and DETEKTOR_EVENTS_TOKEN"
            )
        self.cookie = cookie


class Api:
    """What the events API says."""

    def __init__(self, cluster):
        self.cluster, token = cluster, self.token(cluster)
        given = os.environ.get("DETEKTOR_EVENTS_URL")
        found = cluster.ours(cluster.core("services"), "events")
        if not found and not given:
            raise CannotRun(
                f"no Service of the events role in namespace {cluster.namespace}: install the chart, or set DETEKTOR_EVENTS_URL"
            )
        self.routes = [Direct(given, token)] if given else [Proxied(cluster, found[0], token)]
        address = found[0]["spec"].get("clusterIP") if found and not given else None
        if address and address != "None":
            host = f"[{address}]" if ":" in address else address
            direct = Direct(f"http://{host}:{found[0]['spec']['ports'][0]['port']}", token)
            if self.answers(direct):
                self.routes.insert(0, direct)

    @staticmethod
    def token(cluster):
        if token := os.environ.get("DETEKTOR_EVENTS_TOKEN"):
            return token
        name = os.environ.get("DETEKTOR_EVENTS_SECRET") or "detektor-events"
        try:
            data = cluster.get(cluster.core(f"secrets/{name}"))["data"]
            return base64.b64decode(data["token"]).decode().strip()
        except (Refused, KeyError):
            raise CannotRun(
                f"no secret {name} with the key token in namespace {cluster.namespace}: set DETEKTOR_EVENTS_SECRET to the secret's "
                "name, or DETEKTOR_EVENTS_TOKEN to the token"
            ) from None

    @staticmethod
    def answers(route):
        try:
            route.ask("/livez", 2)
            return True
        except NoAnswer:
            return False

    @property
    def route(self):
        """The way that users take."""
        return self.routes[0]

    def get(self, path, timeout=10, patience_s=60):
        """An answer's JSON, by whichever way gives one; asked again while there is none."""
        begun, error = time.monotonic(), None
        while True:
            for route in self.routes:
                try:
                    status, body = route.ask(path, timeout)
                    if status == 200:
                        return json.loads(body)
                    if status == 401:
                        raise CannotRun(f"the events API refuses the token; see `kubectl get secret -n {self.cluster.namespace}`")
                    error = OSError(f"{path}: status {status}: {body[:200]}")
                    if 400 <= status < 500 and status != 429:
                        raise error
                except NoAnswer as silent:
                    error = silent
            if time.monotonic() - begun > patience_s:
                raise error
            time.sleep(0.5)

    def pages(self, path, field, **query):
        items, cursor = [], None
        while True:
            asked = {**query, "limit": PAGE, **({"cursor": cursor} if cursor else {})}
            page = self.get(f"{path}?{urllib.parse.urlencode(asked)}", timeout=60, patience_s=120)
            items += page[field]
            cursor = page.get("next")
            if not cursor:
                return items

    def cameras(self, names, **how):
        """What is said of these cameras, by name."""
        wanted = set(names)
        return {camera["id"]: camera for camera in self.get("/v1/cameras", **how)["cameras"] if camera["id"] in wanted}

    def ledger(self, camera):
        return self.get(f"/v1/cameras/{camera}/ledger")

    def events(self, camera):
        """A camera's events, without what only counts how often readers were told."""
        events = self.pages("/v1/events", "events", camera=camera)
        for event in events:
            event.pop("revision", None)
        return sorted(events, key=lambda event: event["id"])

    def detections(self, camera):
        return self.pages(f"/v1/cameras/{camera}/detections", "detections")

    def record(self, camera):
        """What came of a camera."""
        return {"ledger": self.ledger(camera), "events": self.events(camera), "detections": self.detections(camera)}
