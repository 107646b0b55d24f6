"""Everything in one process, `detektor run`, over a data directory."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from servers import Process, write_secret  # noqa: E402

KINDS = ("events", "detections", "ledger")


class Alone(Process):
    """`detektor run`, with cameras given as tables; may be killed and started again. `until_done`: it ends with its files."""

    def __init__(self, detektor, directory, cameras, until_done=False, flags=()):
        super().__init__("run", directory)
        self.detektor, self.flags = detektor, [*(["--until-done"] if until_done else []), *flags]
        self.config, self.data = self.dir / "detektor.toml", self.dir / "data"
        # A killed epoch of a live camera has no end, and merge waits for one so long before it goes on.
        write_secret(self.config, "hole_wait_ms = 1000\n" + "".join(map(toml, cameras)))

    def command(self):
        own = [f"--config={self.config}", f"--data-dir={self.data}", "--listen=127.0.0.1:0"]
        return [self.detektor, "run", *own, *self.flags]

    def finish(self, patience_s):
        """Runs until all files are through. Returns the summary."""
        with open(self.log, "ab") as log:
            call = [*self.command(), "--json"]
            done = subprocess.run(call, stdout=subprocess.PIPE, stderr=log, timeout=patience_s)
        if done.returncode not in (0, 2):
            raise SystemExit(f"detektor run exited with {done.returncode}; its log: {self.log}")
        return json.loads(done.stdout)

    def printed(self):
        """What `detektor events`, `detections` and `ledger` print, by kind."""
        call = lambda kind: [self.detektor, kind, f"--data-dir={self.data}", "--json"]
        return {kind: subprocess.run(call(kind), check=True, capture_output=True).stdout for kind in KINDS}

    def record(self):
        """The same, as the API of a stack would say it."""
        events, looks, ledgers = ([json.loads(line) for line in text.splitlines()] for text in self.printed().values())
        for event in events:
            event.pop("revision", None)
        ledgers = {ledger["camera"]: ledger for ledger in ledgers}
        detections = {name: [look for look in looks if look["camera"] == name] for name in ledgers}
        return {"events": sorted(events, key=lambda event: event["id"]), "detections": detections, "ledgers": ledgers}


def toml(camera):
    """A camera's table as TOML."""

    def value(of):
        if isinstance(of, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in of.items()) + " }"
        return json.dumps(of)

    return "[[camera]]\n" + "".join(f"{key} = {value(of)}\n" for key, of in camera.items())
