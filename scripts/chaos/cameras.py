"""Cameras for chaos: on files, and live ones."""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from servers import Process, free_port, listens, new_secret, write_secret  # noqa: E402

RTSP_SERVER = pathlib.Path(__file__).resolve().parents[2] / "dispatcher/tests/support/rtsp_server.py"


def on_files(options):
    """So many cameras that play the footage, as tables."""
    footage = str(options.footage.absolute())
    names = [f"cam-{number}" for number in range(options.cameras)]
    return [{"name": name, "url": footage, "loop": options.loops, "detect": {"fps": options.fps}} for name in names]


class LiveCamera(Process):
    """A real RTSP server with a moving test pattern, behind a password (digest)."""

    STDIN = subprocess.PIPE
    USER, FPS = "admin", 15

    def __init__(self, name, directory):
        super().__init__(name, directory)
        self.port, self.password = free_port(), new_secret("camera")
        self.password_file = self.dir / "password"
        write_secret(self.password_file, self.password)

    def command(self):
        # The system's Python: GStreamer's bindings come from Debian.
        own = ["/usr/bin/python3", str(RTSP_SERVER), f"--port={self.port}", f"--fps={self.FPS}", "--codec=h264"]
        return [*own, "--auth=digest", f"--user={self.USER}", f"--password={self.password}"]

    def ready(self):
        return listens(self.port)

    def settings(self, port=None):
        """The camera as a table, reached at its own port or another one that leads there."""
        url = f"rtsp://127.0.0.1:{port or self.port}/camera"
        return {"name": self.name, "url": url, "user": self.USER, "password_file": str(self.password_file)}
