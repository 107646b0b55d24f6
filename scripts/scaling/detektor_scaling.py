"""The scaling tests by the names that the specification calls them. Whatever needs a cluster takes KUBECONFIG's.

    from detektor_scaling import *
    assert run_distributed_lock_test(concurrent_workers=50, operations=1000).race_conditions == 0
    assert analyze_camera_distribution().std_deviation < 0.1

Each answers an object with the result's names as attributes. CannotRun says what is missing.
"""

import json
import pathlib
import shutil
import subprocess
from types import SimpleNamespace

import camera_load
import operations
from kube import CannotRun, Cluster
from script import Limits
from state_analyzer import scan_services

__all__ = [
    "CannotRun", "analyze_camera_distribution", "run_distributed_lock_test", "run_scaled_test", "scan_services",
    "test_partitioned_queues", "test_scaling_operations",
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The example has so many queues; others would be another test.
PARTITIONS = 10
SEGMENTS = 60


def run_distributed_lock_test(concurrent_workers=50, operations=1000):
    """`just locks`: leases and merge locks on a real Postgres. Each worker does so many operations."""
    return objects(last_line(recipe("locks", concurrent_workers, operations)))


def test_partitioned_queues(partitions=PARTITIONS):
    """`just partitions`: ten queues against one, on a real RabbitMQ. `partition_efficiency` is the rate as a share of what so many
    engines could do; `efficiencies` has the one that computes too."""
    if partitions != PARTITIONS:
        raise ValueError(f"{partitions} partitions: the test has {PARTITIONS}")
    report = last_line(recipe("partitions", SEGMENTS))
    each = report["partition_efficiency"]
    return objects({**report, "partition_efficiency": each["fixed_wait"], "efficiencies": each})


def analyze_camera_distribution():
    """How the cluster's cameras are spread over its dispatchers, as `detektor placement --json` has it."""
    with Cluster() as cluster:
        return distribution(json.loads(cluster.detektor("placement", "--json")))


def distribution(report):
    """Of dispatchers, those that are about to stop are left out."""
    staying = [node for node in report["nodes"] if not node["leaving"]]
    return objects({**{key: value for key, value in report.items() if key != "cameras"}, "nodes": staying})


def run_scaled_test(cameras=100, duration_min=30, **options):
    """cameras.sh. Further options by its flags' names: `run_scaled_test(cameras=6, duration_min=5, kind="live")`."""
    return measured(camera_load, [f"--cameras={cameras}", f"--minutes={duration_min}"], options)


def test_scaling_operations(**options):
    """scale_operations.sh, with its flags' names as options: `test_scaling_operations(from_zero=True, patch=True)`."""
    return measured(operations, [], options)


def measured(module, flags, options):
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        flags += [flag] if value is True else [] if value in (False, None) else [f"{flag}={value}"]
    limits = Limits()
    with Cluster() as cluster:
        found = module.measure(cluster, module.arguments(flags), limits)
    return objects({**found, "limits": limits.all, "held": limits.held()})


def recipe(name, *arguments):
    """What a recipe printed. Its own limits may have been missed: then the numbers say so."""
    just = shutil.which("just")
    call = [just] if just else [str(ROOT / "justw")]
    call += [name, *map(str, arguments)]
    done = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        raise CannotRun(f"`just {name}` exited with {done.returncode} and printed nothing")
    return done.stdout


def last_line(text):
    """The JSON object that a recipe prints last."""
    try:
        return json.loads(text.strip().splitlines()[-1])
    except ValueError:
        raise CannotRun(f"no JSON object at the end of: {text[-300:]}") from None


def objects(value):
    """Tables as objects, all the way down, where their keys can be names."""
    if isinstance(value, dict):
        inner = {key: objects(one) for key, one in value.items()}
        return SimpleNamespace(**inner) if all(str(key).isidentifier() for key in inner) else inner
    return [objects(one) for one in value] if isinstance(value, list) else value
