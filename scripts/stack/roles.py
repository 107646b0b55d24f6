"""Detektor's roles as processes, and a whole stack of them."""

import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from servers import Process, free_port, write_secret

# So many looks in a row must find everything done, half a second apart.
SETTLED = 14
# What does not close for so long does not close any more.
HOPELESS_S = 90


def fetch(url, token=None, timeout=3):
    """The body of an answer, whatever its status."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


class Role(Process):
    """One process of a role. `config` is its configuration file."""

    def __init__(self, detektor, role, number, directory, config, *flags):
        super().__init__(f"{role}-{number}", pathlib.Path(directory) / f"{role}-{number}")
        self.detektor, self.role, self.config, self.flags = detektor, role, config, flags
        self.port = free_port()

    def command(self):
        own = [f"--listen=127.0.0.1:{self.port}", *self.flags]
        if self.role in ("dispatcher", "balancer"):
            own.append(f"--name={self.name}")
        if self.role == "dispatcher":
            own.append(f"--spool-dir={self.dir / 'spool'}")
        return [self.detektor, self.role, f"--config={self.config}", *own]

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                return True
        except OSError:
            return False


class Api:
    """The events API of whichever process answers."""

    def __init__(self, roles, token=None):
        self.roles, self.token = roles, token

    def get(self, path, timeout=3):
        error = None
        for role in self.roles:
            try:
                status, body = fetch(f"http://127.0.0.1:{role.port}{path}", self.token, timeout)
                if status == 200:
                    return json.loads(body)
                error = OSError(f"{path}: status {status}: {body[:200]}")
            except (OSError, ValueError) as failed:
                error = failed
        raise error

    def cameras(self):
        return self.get("/v1/cameras")["cameras"]

    def pages(self, path, field):
        items, cursor = [], None
        while True:
            query = {"limit": 500, **({"cursor": cursor} if cursor else {})}
            page = self.get(f"{path}?{urllib.parse.urlencode(query)}", timeout=30)
            items += page[field]
            cursor = page.get("next")
            if not cursor:
                return items

    def events(self):
        """All events by id, without what only counts how often readers were told."""
        events = self.pages("/v1/events", "events")
        for event in events:
            event.pop("revision", None)
        return sorted(events, key=lambda event: event["id"])

    def ledgers(self, cameras):
        return {camera: self.get(f"/v1/cameras/{camera}/ledger") for camera in cameras}

    def detections(self, camera):
        return self.pages(f"/v1/cameras/{camera}/detections", "detections")


class Progress:
    """How long cameras did not get on, as the API shows it."""

    def __init__(self, names):
        self.names, self.begun, self.longest_s = names, time.monotonic(), 0.0
        self.changed = {}

    def look(self, cameras):
        """Returns who got on, after how many seconds. Time counts from a camera's first frames on."""
        now, stalls = time.monotonic(), {}
        for name in self.names:
            captured = cameras.get(name, {}).get("captured", 0)
            before, since = self.changed.get(name, (0, now))
            if captured != before:
                stalls[name] = now - since
                self.changed[name] = (captured, now)
        self.longest_s = max([self.longest_s, *stalls.values()])
        return stalls

    def waits_s(self):
        """How long somebody has not got on."""
        return time.monotonic() - min((since for _, since in self.changed.values()), default=self.begun)

    def stall_s(self):
        """How long none of them got on."""
        return time.monotonic() - max((since for _, since in self.changed.values()), default=self.begun)


class Stack:
    """So many of each role on three servers."""

    ORDER = ("balancer", "dispatcher", "detect", "merge", "events")

    def __init__(self, detektor, servers, directory, counts, configs=None, flags=None, token=None):
        self.detektor, self.servers = detektor, servers
        flags = flags or {}
        self.roles = []
        for role in self.ORDER:
            for number in range(counts.get(role, 1)):
                config = configs(f"{role}-{number}") if configs else servers.config
                self.roles.append(Role(detektor, role, number, directory, config, *flags.get(role, ())))
        self.api = Api(self.of("events"), token)

    def of(self, role):
        return [process for process in self.roles if process.role == role]

    def start(self):
        for role in self.roles:
            role.spawn()
        for role in self.roles:
            role.until_ready()

    def apply(self, cameras, directory):
        """Wants these cameras and no others. `cameras` is a list of tables; JSON is YAML."""
        file = pathlib.Path(directory) / "cameras.yaml"
        write_secret(file, json.dumps({"cameras": cameras}))
        call = [self.detektor, "cameras", "apply", "--prune", "-f", str(file), "--config", str(self.servers.config)]
        subprocess.run(call, check=True, capture_output=True)

    def stop(self):
        """Drains everything, the ends of the line last. Returns who did not end well, with the exit status."""
        failed = {}
        for name in self.ORDER:
            processes = self.of(name)
            for process in processes:
                process.tell_to_stop()
            for process in processes:
                status = process.await_end()
                if status != 0:
                    failed[process.name] = status
        return failed

    def until_done(self, names, patience_s, states=("ended", "failed")):
        """Waits until these cameras are in one of these states and all that was captured of them is accounted for."""
        settled, progress, begun = 0, Progress(names), time.monotonic()
        while True:
            time.sleep(0.5)
            try:
                cameras = {camera["id"]: camera for camera in self.api.cameras()}
            except OSError:
                cameras = {}
            progress.look(cameras)
            mine = [cameras.get(name, {}) for name in names]
            through = all(camera.get("state") in states for camera in mine)
            closed = through and (all(camera["closes"] for camera in mine) or progress.stall_s() > HOPELESS_S)
            settled = settled + 1 if closed and self.is_quiet() else 0
            # The management API is a few seconds behind.
            if settled >= SETTLED:
                return
            if time.monotonic() - begun > patience_s:
                raise SystemExit(f"not done after {patience_s} s: {json.dumps(cameras)}")

    def is_quiet(self):
        """Whether no queue holds anything."""
        try:
            return self.depths() == 0
        except OSError:
            return False

    def depths(self):
        queues = self.servers.rabbitmq.ask("queues?columns=name,messages")
        # One that was just started does not know yet what its queues hold.
        return sum(queue.get("messages", 1) for queue in queues)
