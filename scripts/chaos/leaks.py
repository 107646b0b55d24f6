"""Looks for passwords and tokens in everything that a run wrote and said."""

import base64
import mmap
import os
import re
import subprocess
import threading
import urllib.parse

from roles import fetch

SAMPLE_EVERY_S = 3.0


class Sampler(threading.Thread):
    """Writes down, now and then, what every process says about itself, and what the API answers."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.told = cluster, threading.Event()
        self.dir = cluster.dir / "samples"
        self.dir.mkdir()

    def run(self):
        while not self.told.wait(SAMPLE_EVERY_S):
            self.sample()

    def sample(self):
        names = [camera["name"] for camera in self.cluster.files] + [camera.name for camera in self.cluster.live]
        api = ["/v1/cameras", "/v1/events", "/v1/openapi.json", *(f"/v1/cameras/{name}/ledger" for name in names)]
        for role in [*self.cluster.stack.roles, self.cluster.observer]:
            asks = [(path, None) for path in ("/metrics", "/readyz?verbose", "/livez")]
            if role.role == "events":
                # Somebody who shows the wrong token is told so.
                asks += [(path, self.cluster.tokens["token"]) for path in api] + [("/v1/cameras", "wrong")]
            for path, token in asks:
                try:
                    _, body = fetch(f"http://127.0.0.1:{role.port}{path}", token, timeout=1)
                except OSError:
                    break
                with open(self.dir / role.name, "ab") as file:
                    file.write(body)

    def stop(self):
        self.told.set()
        self.join(60)


def dump(cluster):
    """The database as text: on disk, long values are compressed."""
    postgres = cluster.servers.postgres
    call = [str(postgres.bin / "pg_dump"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", postgres.USER]
    call += ["-d", postgres.DATABASE, "-f", str(cluster.dir / "dump.sql")]
    subprocess.run(call, check=True, env={**os.environ, "PGPASSWORD": postgres.password}, capture_output=True)


def forms(secret):
    """A secret as it may be written: plain, URL-encoded, its own part, and as base64, alone or within other text."""
    found = {secret, urllib.parse.quote(secret, safe=""), secret.split("+")[1].split("/")[0]}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        # The first and last characters depend on what stands before and behind.
        core = encoded.rstrip("=")[(0, 2, 3)[before] : -1]
        found |= {core, core.replace("+", "-").replace("/", "_")}
    return found


def search(directory, secrets):
    """Which files hold which secrets: pairs of a path and whose secret it is."""
    needles = {form.encode(): name for name, secret in secrets.items() for form in forms(secret)}
    pattern = re.compile(b"|".join(re.escape(needle) for needle in needles))
    found = set()
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.is_symlink() or not path.stat().st_size:
            continue
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found |= {(path, needles[match.group()]) for match in pattern.finditer(content)}
    return found


def leaks(directory, secrets, credential_files):
    """What stands where it must not. Each secret has to be found where it may stand, or the search is worth nothing."""
    found = search(directory, secrets)
    at_home = {whose for path, whose in found if path in credential_files}
    blind = [f"the search misses the secret of {whose} even in its own file" for whose in secrets.keys() - at_home]
    told = [f"{path} holds the secret of {whose}" for path, whose in sorted(found) if path not in credential_files]
    return blind + told
