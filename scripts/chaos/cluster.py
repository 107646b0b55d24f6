"""What chaos is made on: a whole stack over wires, with cameras on files and live ones."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from roles import Api, Role, Stack  # noqa: E402
from servers import Servers, new_secret, write_secret  # noqa: E402
from cameras import LiveCamera, on_files  # noqa: E402
from wires import Wires  # noqa: E402

COUNTS = {"balancer": 2, "dispatcher": 2, "detect": 2, "merge": 2, "events": 1}
FLAGS = {
    "detect": ["--workers=1", "--drain-ms=10000"],
    "merge": ["--hole-wait-ms=3000", "--drain-ms=10000"],
    "balancer": ["--hole-wait-ms=3000", "--interval-ms=500", "--ttl-ms=2500"],
    # About every other segment of the sample footage is larger, and goes through the bucket.
    "dispatcher": ["--beat-ms=500", "--ttl-ms=2500", "--drain-ms=10000", "--inline-bytes-max=80000"],
}


class Cluster:
    """A stack whose processes reach their servers over wires, each over its own. Who watches it has processes and wires
    that nobody breaks."""

    def __init__(self, options, directory, real_time=False):
        self.dir, self.real_time = directory, real_time
        directory.mkdir()
        directory.chmod(0o711)
        self.servers = Servers(directory / "servers")
        self.wires, self.live = Wires(), []
        self.tokens = {"token": new_secret("reader"), "admin_token": new_secret("admin")}
        for name, token in self.tokens.items():
            write_secret(directory / name, token)
        for number in range(options.live):
            self.live.append(LiveCamera(f"live-{number}", directory / f"live-{number}"))
        try:
            self.start(options)
        except BaseException:
            self.stop()
            raise

    def start(self, options):
        self.servers.start(options.detektor, options.partitions)
        flag = [f"--{name.replace('_', '-')}-file={self.dir / name}" for name in self.tokens]
        flags = {**FLAGS, "events": flag}
        counts = {**COUNTS, "detect": options.detect}
        token = self.tokens["token"]
        self.stack = Stack(options.detektor, self.servers, self.dir, counts, self.wired, flags, token)
        self.observer = Role(options.detektor, "events", "observer", self.dir, self.servers.config, *flag)
        self.stack.api = Api([self.observer], token)
        for process in [*self.live, self.observer]:
            process.start()
        self.stack.start()
        self.files = on_files(options)
        for number, camera in enumerate(self.files):
            # Some take as long as they were recorded, so that there is work until the last round.
            camera["real_time"] = self.real_time or number % 2 == 0
        # What has waited for a minute is shed: live cameras do not wait for the work to be caught up with.
        watched, lives = {"detect": {"fps": options.fps, "max_age_ms": 60_000}}, []
        for camera in self.live:
            wire = self.wires.lay(f"dispatchers - {camera.name}", camera.port)
            lives.append({**camera.settings(wire.port), **watched})
        self.stack.apply([*self.files, *lives], self.dir)

    def wired(self, name):
        """A configuration that leads over wires of this process's own."""
        text = self.servers.config.read_text()
        servers = self.servers
        ports = {
            "amqp": servers.rabbitmq.port,
            "management": servers.rabbitmq.management,
            "postgres": servers.postgres.port,
            "s3": servers.minio.port,
        }
        for what, port in ports.items():
            wire = self.wires.lay(f"{name} - {what}", port)
            text = re.sub(rf":{port}\b", f":{wire.port}", text)
        file = self.dir / f"{name}.toml"
        write_secret(file, text)
        return file

    def end_live(self):
        """Takes the live cameras off the list, which ends them properly."""
        self.stack.apply(self.files, self.dir)

    def secrets(self):
        """Every password and token, by whose it is."""
        servers = self.servers
        own = {"rabbitmq": servers.rabbitmq.password, "postgres": servers.postgres.password}
        cameras = {camera.name: camera.password for camera in self.live}
        return {**own, "minio": servers.minio.secret, **self.tokens, **cameras}

    def credential_files(self):
        """Where they may stand."""
        servers = self.servers
        own = [servers.rabbitmq.dir / "password", servers.rabbitmq.dir / "rabbitmq.conf"]
        own += [servers.postgres.dir / "password", servers.minio.dir / "secret"]
        return {*own, *(self.dir / name for name in self.tokens), *(camera.password_file for camera in self.live)}

    def stop(self):
        """Drains everything. Returns who did not end well, with the exit status."""
        failed = {}
        try:
            if hasattr(self, "stack"):
                failed = self.stack.stop()
                status = self.observer.stop()
                failed.update({} if status in (0, None) else {"observer": status})
        finally:
            for camera in self.live:
                camera.kill()
            self.servers.stop()
            self.wires.stop()
        return failed


def record(api, names):
    """What came of cameras, as the API says it."""
    detections = {name: api.detections(name) for name in names}
    events = [event for event in api.events() if event["camera"] in names]
    return {"events": events, "detections": detections, "ledgers": api.ledgers(names)}
