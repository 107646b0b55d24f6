"""What state Detektor's roles keep, by what they declare: `detektor state --json`.

    from state_analyzer import scan_services
    analysis = scan_services()
    assert len(analysis.stateful_components) == 0
    assert all(s.uses_external_state for s in analysis.services)

The declarations are held to the code by its tests, which fail on a global that nobody declared.
"""

import json
import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass, field

from kube import CannotRun, Cluster, Refused

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclass
class Service:
    """One role, and every piece of state that it holds."""

    role: str
    uses_external_state: bool
    state: list = field(default_factory=list)


@dataclass
class Analysis:
    """All roles; and of them those that hold what nobody else has."""

    services: list
    stateful_components: list


def analyze(declared):
    """An analysis of what `detektor state --json` prints."""
    services = [Service(one["role"], one["uses_external_state"], one.get("state", [])) for one in declared]
    if not services:
        raise CannotRun("`detektor state --json` names no role, so this shows nothing")
    return Analysis(services, [service.role for service in services if not service.uses_external_state])


def binary():
    """The program on this machine: DETEKTOR_BINARY, the one that `just build` made, or the PATH's."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    for one in (os.environ.get("DETEKTOR_BINARY"), target / "release/detektor", shutil.which("detektor")):
        if one and pathlib.Path(one).exists():
            return str(one)
    return None


def scan_services():
    """Asks the program on this machine; where there is none, the one in the cluster."""
    if program := binary():
        done = subprocess.run([program, "state", "--json"], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CannotRun(f"`{program} state --json` exited with {done.returncode}: {done.stderr.strip()[-500:]}")
        return analyze(json.loads(done.stdout))
    with Cluster() as cluster:
        pods = [pod for pod in cluster.pods("balancer") if pod.ready]
        if not pods:
            raise CannotRun("no `detektor` on this machine (`just build`, or DETEKTOR_BINARY), and no balancer ready in the cluster")
        call = ["exec", "-n", cluster.namespace, pods[0].name, "-c", "balancer", "--", "detektor", "state", "--json"]
        try:
            return analyze(json.loads(cluster.kubectl(*call)))
        except Refused as error:
            raise CannotRun(f"`detektor state --json` in {pods[0].name}: {error}") from None
