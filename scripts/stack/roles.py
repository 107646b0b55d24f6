"""Detektor's roles as processes, and a whole stack of them."""

import json
import pathlib
import subprocess
import time
import urllib.parse
import urllib.request

from servers import Process, free_port, write_secret

# So many looks in a row must find everything done, half a second apart.
SETTLED = 14
# What does not close for so long does not close any more.
HOPELESS_S = 90


def get(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return json.load(answer)


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

    def __init__(self, roles):
        self.roles = roles

    def get(self, path):
        error = None
        for role in self.roles:
            try:
                return get(f"http://127.0.0.1:{role.port}{path}")
            except (OSError, ValueError) as failed:
                error = failed
        raise error

    def cameras(self):
        return self.get("/v1/cameras")["cameras"]

    def pages(self, path, field):
        items, cursor = [], None
        while True:
            query = {"limit": 500, **({"cursor": cursor} if cursor else {})}
            page = self.get(f"{path}?{urllib.parse.urlencode(query)}")
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


class Stack:
    """So many of each role on three servers."""

    ORDER = ("balancer", "dispatcher", "detect", "merge", "events")

    def __init__(self, detektor, servers, directory, counts, configs=None, flags=None):
        self.detektor, self.servers = detektor, servers
        flags = flags or {}
        self.roles = []
        for role in self.ORDER:
            for number in range(counts.get(role, 1)):
                config = configs(f"{role}-{number}") if configs else servers.config
                self.roles.append(Role(detektor, role, number, directory, config, *flags.get(role, ())))
        self.api = Api(self.of("events"))

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

    def until_done(self, names, patience_s, watch=None):
        """Waits until every camera ended and everything captured is accounted for; returns the longest stall in seconds."""
        begun = last_change = time.monotonic()
        seen, longest, settled = None, 0.0, 0
        while True:
            time.sleep(0.5)
            if watch:
                watch()
            now = time.monotonic()
            try:
                cameras = {camera["id"]: camera for camera in self.api.cameras()}
            except OSError:
                cameras = None
            if cameras is not None:
                merged = sum(camera["captured"] for camera in cameras.values())
                if merged != seen:
                    seen, last_change, settled = merged, now, 0
                ended = all(cameras.get(name, {}).get("state") in ("ended", "failed") for name in names)
                closed = all(camera["closes"] for camera in cameras.values()) or now - last_change > HOPELESS_S
                settled = settled + 1 if ended and closed and self.is_quiet() else 0
                # The management API is a few seconds behind.
                if settled >= SETTLED:
                    return longest
            longest = max(longest, now - last_change)
            if now - begun > patience_s:
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
