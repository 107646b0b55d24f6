"""What processes that go on running have used so far: CPU time, memory, connections."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from servers import family  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def stat(pid):
    """The fields behind the program's name, which may hold anything. None if there is no such process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def cpu_s(pid):
    """CPU seconds of a process, of its descendants, and of those that it has waited for."""
    total = 0
    for one in family(pid):
        if fields := stat(one):
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def rss_bytes(pid):
    return int((stat(pid) or ["0"] * 22)[21]) * PAGE


def connections(pid, ports):
    """How many TCP connections a process has to each of these local ports, by the ports' names."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    counts = dict.fromkeys(ports, 0)
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        remote, established = int(fields[2].rpartition(":")[2], 16), fields[3] == "01"
        for name, port in ports.items():
            counts[name] += established and remote == port and fields[9] in inodes
    return counts
