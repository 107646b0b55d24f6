"""RabbitMQ, Postgres and MinIO on loopback, each in a directory of its own: for trying things out, for the stack, for chaos."""

import base64
import glob
import json
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "detektor"
START_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_properly():
    """Has SIGTERM end this script as an exception would: whoever stops it wants everything stopped that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def write_secret(path, text):
    path.write_text(text)
    path.chmod(0o600)


def new_secret(whose):
    """A password like no other text, with characters that URLs and headers write differently."""
    return f"{whose}+{secrets.token_hex(16)}/="


def family(pid):
    """A process and all that descend from it. Some of them begin sessions of their own, as Postgres's do."""
    children = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            number, rest = pathlib.Path(stat).read_text().split(" (", 1)
        except OSError:
            continue
        children.setdefault(int(rest.rpartition(") ")[2].split()[1]), []).append(int(number))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def find(name, places, advice):
    for place in places:
        for candidate in sorted(glob.glob(f"{place}/{name}"), reverse=True):
            return candidate
    found = shutil.which(name)
    if found:
        return found
    raise SystemExit(f"{name} is not installed: {advice}")


class Process:
    """A process in a group of its own, with a log."""

    STDIN = subprocess.DEVNULL

    def __init__(self, name, directory):
        self.name = name
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.child = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def ready(self):
        return True

    @property
    def log(self):
        return self.dir / "log"

    def spawn(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command(),
                env={**os.environ, **self.environment()},
                stdin=self.STDIN,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.dir / "pid").write_text(str(self.child.pid))

    def until_ready(self):
        begun = time.monotonic()
        while not self.ready():
            if self.child.poll() is not None or time.monotonic() - begun > START_S:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"{self.name} did not start (exit {self.child.poll()}); the end of {self.log}:\n{tail}")
            time.sleep(0.1)

    def start(self):
        self.spawn()
        self.until_ready()

    def signal(self, which):
        """Sends a signal to the process and its descendants."""
        for pid in family(self.child.pid) if self.alive() else []:
            try:
                os.kill(pid, which)
            except ProcessLookupError:
                pass

    def resume(self):
        self.signal(signal.SIGCONT)

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        if self.child is None:
            return
        self.signal(signal.SIGKILL)
        self.child.wait()
        # What outlived its parent.
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def tell_to_stop(self):
        if self.alive():
            self.signal(signal.SIGCONT)
            self.child.terminate()

    def stop(self, patience_s=40):
        """Tells it to stop, and kills what does not heed that. Returns the exit status, none if it had to be killed."""
        self.tell_to_stop()
        return self.await_end(patience_s)

    def await_end(self, patience_s=40):
        if self.child is None:
            return None
        try:
            return self.child.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()


class RabbitMq(Process):
    PROGRAM = "/usr/lib/rabbitmq/bin"
    USER, DELIVERIES = "detektor", 20

    def __init__(self, directory, port=None, prometheus=False):
        super().__init__("rabbitmq", directory)
        self.port, self.management, self.distribution = port or free_port(), free_port(), free_port()
        self.password = new_secret("rabbitmq")
        self.program = find(
            "rabbitmq-server", [self.PROGRAM], "run `scripts/setup/packages rabbitmq`"
        )
        write_secret(self.dir / "password", self.password)
        config = f"""\
listeners.tcp.1 = 127.0.0.1:{self.port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {self.management}
default_user = {self.USER}
default_pass = {self.password}
default_user_tags.administrator = true
collect_statistics_interval = 1000
disk_free_limit.absolute = 50MB
"""
        plugins, self.prometheus = ["rabbitmq_management"], free_port() if prometheus else None
        if prometheus:
            plugins.append("rabbitmq_prometheus")
            config += f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {self.prometheus}\n"
        write_secret(self.dir / "rabbitmq.conf", config)
        (self.dir / "plugins").write_text(f"[{','.join(plugins)}].\n")

    def command(self):
        return [self.program]

    def environment(self):
        return {
            "RABBITMQ_NODENAME": f"detektor-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": str(self.dir / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.dir / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.dir / "data"),
            "RABBITMQ_LOGS": "-",
            "HOME": str(self.dir),
        }

    def ready(self):
        return listens(self.port) and listens(self.management)

    def ask(self, path):
        """What the management API says."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.management}/api/{path}")
        token = base64.b64encode(f"{self.USER}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def settings(self):
        return f"""\
[rabbitmq]
url = "amqp://127.0.0.1:{self.port}/%2f"
management_url = "http://127.0.0.1:{self.management}"
user = "{self.USER}"
password_file = "{self.dir / "password"}"
"""


class Postgres(Process):
    USER, DATABASE = "detektor", "detektor"

    def __init__(self, directory, port=None):
        super().__init__("postgres", directory)
        self.port = port or free_port()
        self.password = new_secret("postgres")
        self.bin = pathlib.Path(
            find("postgres", ["/usr/lib/postgresql/*/bin"], "run `scripts/setup/packages postgres`")
        ).parent
        write_secret(self.dir / "password", self.password)

    def as_user(self, *command):
        """Postgres refuses to run as root."""
        if os.geteuid() != 0:
            return list(command)
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]

    def start(self):
        data = self.dir / "data"
        if not data.exists():
            data.mkdir()
            if os.geteuid() == 0:
                user = pwd.getpwnam("postgres")
                os.chown(data, user.pw_uid, user.pw_gid)
                # The user must reach its directory, and its password's file while the database is made.
                for parent in [self.dir, *self.dir.parents]:
                    if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                        parent.chmod(parent.stat().st_mode | 0o011)
                os.chown(self.dir / "password", user.pw_uid, user.pw_gid)
            call = self.as_user(
                str(self.bin / "initdb"), "-D", str(data), "-U", self.USER, "-A", "scram-sha-256",
                f"--pwfile={self.dir / 'password'}", "-E", "UTF8", "--locale=C",
            )
            made = subprocess.run(call, capture_output=True, text=True, cwd="/")
            if made.returncode:
                raise SystemExit(f"initdb: {made.stderr}")
        super().start()
        self.psql("postgres", "SELECT 1")
        if "0" in self.psql("postgres", f"SELECT count(*) FROM pg_database WHERE datname = '{self.DATABASE}'").split():
            self.psql("postgres", f"CREATE DATABASE {self.DATABASE}")

    def psql(self, database, sql):
        call = [str(self.bin / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", self.USER, "-d", database]
        call += ["-v", "ON_ERROR_STOP=1", "-Atc", sql]
        environment = {**os.environ, "PGPASSWORD": self.password}
        for attempt in range(100):
            done = subprocess.run(call, env=environment, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout
            time.sleep(0.2)
        raise SystemExit(f"psql: {done.stderr}")

    def command(self):
        return self.as_user(
            str(self.bin / "postgres"), "-D", str(self.dir / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", "",
        )

    def spawn(self):
        # What a killed server left behind; a new one would take another process of the same number for it.
        (self.dir / "data" / "postmaster.pid").unlink(missing_ok=True)
        super().spawn()

    def tell_to_stop(self):
        # SIGINT is its fast shutdown: it does not wait for clients.
        if self.alive():
            self.signal(signal.SIGCONT)
            os.kill(self.child.pid, signal.SIGINT)

    def ready(self):
        return listens(self.port)

    def settings(self):
        return f"""\
[postgres]
url = "postgres://127.0.0.1:{self.port}/{self.DATABASE}"
user = "{self.USER}"
password_file = "{self.dir / "password"}"
"""


class Minio(Process):
    USER, BUCKET = "detektor", "detektor"

    def __init__(self, directory, port=None):
        super().__init__("minio", directory)
        self.port = port or free_port()
        self.secret = new_secret("minio")
        self.program = find("minio", [CACHE / "services/bin"], "run `scripts/setup/go-program minio`")
        write_secret(self.dir / "access", self.USER)
        write_secret(self.dir / "secret", self.secret)

    def command(self):
        return [self.program, "server", "--quiet", "--address", f"127.0.0.1:{self.port}", str(self.dir / "data")]

    def environment(self):
        return {
            "MINIO_ROOT_USER": self.USER,
            "MINIO_ROOT_PASSWORD": self.secret,
            "MINIO_BROWSER": "off",
            "MINIO_CONFIG_ENV_FILE": "",
            # Benchmarks read how often it was asked; it listens on loopback.
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
            "HOME": str(self.dir),
        }

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/minio/health/ready", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def settings(self):
        return f"""\
[s3]
bucket = "{self.BUCKET}"
endpoint = "http://127.0.0.1:{self.port}"
path_style = true
access_key_file = "{self.dir / "access"}"
secret_key_file = "{self.dir / "secret"}"
"""


class Servers:
    """All three, and the settings that reach them."""

    def __init__(self, directory, prometheus=False):
        self.dir = pathlib.Path(directory)
        self.rabbitmq = RabbitMq(self.dir / "rabbitmq", prometheus=prometheus)
        self.postgres = Postgres(self.dir / "postgres")
        self.minio = Minio(self.dir / "minio")
        self.all = [self.rabbitmq, self.postgres, self.minio]

    @property
    def config(self):
        return self.dir / "detektor.toml"

    def start(self, detektor, partitions=None):
        """Starts them and makes in them what Detektor needs."""
        for server in self.all:
            server.start()
        settings = "\n".join(server.settings() for server in self.all)
        if partitions:
            settings = settings.replace("[rabbitmq]\n", f"[rabbitmq]\npartitions = {partitions}\n")
        write_secret(self.config, settings)
        for tool in (["migrate"], ["bucket", "setup"], ["broker", "setup"]):
            call = [detektor, *tool, "--config", str(self.config)]
            for attempt in range(50):
                done = subprocess.run(call, capture_output=True, text=True)
                if done.returncode == 0:
                    break
                time.sleep(0.2)
            else:
                raise SystemExit(f"{' '.join(call)}: {done.stderr}")

    def stop(self):
        for server in reversed(self.all):
            server.stop(20)
