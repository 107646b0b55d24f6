"""Runs every line of the specification (docs/specification.md) on a cluster, and says which hold.

Each line is a command of its own; its JSON object goes to --out, one file a line. Those marked "local" need no cluster, but `just`
and what it brings along.
"""

import json
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

import detektor_scaling
import nodes
from kube import CannotRun, Refused
from load import Load
from script import CANNOT_RUN, HELD, Limits, parser, run, say

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = "charts/detektor"
# So long the continuous test runs before a node is drained, and after.
RUNS_S = 30


class Line:
    """A line of the specification. `command` is a script with its flags; else `check(cluster, options, limits)` answers a table."""

    def __init__(self, name, what, command=None, check=None, local=False, compares=False):
        self.name, self.what, self.command, self.check, self.local = name, what, command, check, local
        self.compares = compares

    def call(self, options):
        own = [one.format(cameras=options.cameras, minutes=options.minutes, out=options.out) for one in self.command]
        own += ["--reference", str(options.reference)] if self.compares else []
        return [str(ROOT / own[0]), *own[1:], *options.more.get(self.name, [])]


def state(_cluster, _options, limits):
    found = detektor_scaling.scan_services()
    limits.exactly("stateful components", found.stateful_components, [])
    limits.exactly("all use external state", all(one.uses_external_state for one in found.services), True)
    return {"services": [{"role": one.role, "uses_external_state": one.uses_external_state} for one in found.services]}


def locks(_cluster, _options, limits):
    found = detektor_scaling.run_distributed_lock_test(concurrent_workers=50, operations=1000)
    limits.exactly("race conditions", found.race_conditions, 0)
    limits.exactly("deadlocks", found.deadlocks, 0)
    return vars(found)


def partitions(_cluster, _options, limits):
    found = detektor_scaling.test_partitioned_queues(partitions=10)
    limits.exactly("message ordering preserved", found.message_ordering_preserved, True)
    limits.above("partition efficiency", found.partition_efficiency, 0.9)
    limits.exactly("cross-partition traffic", found.cross_partition_traffic, 0)
    return {**vars(found), "efficiencies": vars(found.efficiencies)}


def distribution(cluster, options, limits):
    """There have to be cameras that could be spread."""
    with Load(cluster) as load:
        names = load.files(options.spread, "spread", detect={"fps": 1})
        load.until_running(names)
        time.sleep(60)
        found = detektor_scaling.analyze_camera_distribution()
    limits.below("standard deviation", found.std_deviation, 0.1)
    limits.exactly("every node has cameras", all(node.camera_count > 0 for node in found.nodes), True)
    limits.exactly("rebalance needed", found.rebalance_needed, False)
    counts = {node.name: node.camera_count for node in found.nodes}
    return {"std_deviation": found.std_deviation, "nodes": counts, "rebalance_needed": found.rebalance_needed}


def helm(cluster, _options, limits):
    """Lint, a dry run, and what the client of Kubernetes says of the templates."""
    def ends_well(what, script):
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {script}"], cwd=ROOT, capture_output=True, text=True)
        limits.note(what, done.stderr.strip()[-300:] if done.returncode else "ends well", "ends well", done.returncode == 0)

    namespace = shlex.quote(cluster.namespace)
    ends_well("helm lint", f"helm lint {CHART}")
    ends_well("helm install --dry-run", f"helm install detektor {CHART} -n {namespace} --dry-run --debug >/dev/null")
    apply = f"helm template detektor {CHART} -n {namespace} | kubectl apply -n {namespace} --dry-run=client -f - >/dev/null"
    ends_well("helm template | kubectl apply --dry-run=client", apply)
    return {}


def hpa(cluster, options, limits):
    spec = (cluster.autoscaler("detection") or {}).get("spec", {})
    limits.exactly("minReplicas", spec.get("minReplicas"), options.min)
    limits.exactly("maxReplicas", spec.get("maxReplicas"), options.max)
    return {"min": spec.get("minReplicas"), "max": spec.get("maxReplicas")}


def pdb(cluster, _options, limits):
    items = cluster.ours(f"/apis/policy/v1/namespaces/{cluster.namespace}/poddisruptionbudgets")
    found = {item["metadata"]["name"]: item["spec"] for item in items}
    limits.at_least("disruption budgets", len(found), 1)
    own = next((item["spec"] for item in items if item["metadata"]["name"].endswith("-detection")), {})
    limits.at_least("minAvailable of detection", own.get("minAvailable"), 2)
    return {"budgets": {name: spec.get("minAvailable", spec.get("maxUnavailable")) for name, spec in found.items()}}


def pass_on(stream, running):
    """Passes on what a test says to people, and tells when it has begun, or ended."""
    for line in stream:
        say(line.rstrip())
        if line.startswith("running"):
            running.set()
    running.set()


def survives(cluster, options, limits):
    """The continuous test, a node drained meanwhile, and the test still there; it ends well when it is told to."""
    line = Line("continuous", "", ["scripts/continuous_test.sh"], compares=True)
    test = subprocess.Popen(line.call(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        running = threading.Event()
        threading.Thread(target=pass_on, args=(test.stderr, running), daemon=True).start()
        running.wait()
        time.sleep(RUNS_S if test.poll() is None else 0)
        node, _, bad = nodes.choose(cluster)
        try:
            nodes.drain(cluster, node)
            time.sleep(RUNS_S)
            survived = test.poll() is None
        finally:
            nodes.uncordon(cluster, node)
        nodes.until("all pods ready", lambda: nodes.all_ready(cluster), 600)
        time.sleep(RUNS_S)
    finally:
        if test.poll() is None:
            test.send_signal(signal.SIGTERM)
        said = test.stdout.read()
        test.wait()
    found = json.loads(said or "{}")
    limits.exactly("survived the drain", survived, True)
    limits.exactly("exit code", test.returncode, HELD)
    # Of the client that had no answer for the longest time in all.
    availability = 100 * (1 - found.get("unanswered_s", 0) / found["ran_s"]) if found.get("ran_s") else None
    limits.at_least("availability, %", availability, 99.9)
    return {"node": node, "note": bad, "availability_percent": availability, **found}


LINES = (
    Line("prerequisites", "three nodes ready, none busy, KEDA", ["scripts/scaling/prerequisites.sh"]),
    Line("state", "zero in-memory shared state", check=state),
    Line("stateless", "any instance can handle any request", ["scripts/test_stateless.sh", "--kill-random-pods",
         "--log={out}/test_results.log"], compares=True),
    Line("locks", "concurrent operations safe", check=locks, local=True),
    Line("distribution", "even distribution of cameras", check=distribution),
    Line("partitions", "parallel processing without conflicts", check=partitions, local=True),
    Line("uneven", "automatic rebalancing under load", ["scripts/scaling/load_test.sh", "--uneven", "--duration=300"]),
    Line("helm", "parameterized deployments", check=helm),
    Line("hpa", "auto-scaling based on load", check=hpa),
    Line("pdb", "high availability maintained", check=pdb),
    Line("cameras", "so many concurrent cameras", ["scripts/scaling/cameras.sh", "--cameras={cameras}", "--minutes={minutes}"]),
    Line("continuous", "zero downtime during node failure", check=survives),
    Line("disturbed", "the same while nodes are drained, and one is killed", ["scripts/continuous_test.sh", "--disturb"], compares=True),
    Line("scale", "graceful scaling without data loss", ["scripts/scaling/scale_operations.sh", "--samples={out}/scale.jsonl"],
         compares=True),
    Line("scale-zero", "the same from zero", ["scripts/scaling/scale_operations.sh", "--from-zero", "--patch",
         "--samples={out}/scale-zero.jsonl"], compares=True),
    Line("blind", "pods stay while KEDA sees nothing", ["scripts/scaling/blind_scaling.sh"]),
    Line("failures", "nodes and servers lost under load", ["scripts/scaling/failures.sh"], compares=True),
)


def script(line, options):
    """Runs a line's script; answers its table and exit code."""
    call = line.call(options)
    say(f"== {line.name}: {shlex.join(call)}")
    done = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        return json.loads(done.stdout), done.returncode
    except ValueError:
        return {"error": f"no JSON object: {done.stdout[-300:]!r}"}, CANNOT_RUN


def check(line, cluster, options):
    say(f"== {line.name}: {line.what}")
    limits = Limits()
    try:
        found = line.check(cluster, options, limits)
        found = {**found, "limits": limits.all, "held": limits.held(), "cluster": cluster.describe()}
        return found, 0 if limits.held() else 1
    except (CannotRun, OSError, Refused) as error:
        say(f"cannot run: {error}")
        return {"error": str(error), "limits": limits.all, "held": False}, CANNOT_RUN


def plot(samples):
    """Draws what a line has sampled. Without a plot the figures are as good."""
    if samples.exists():
        drawn = subprocess.run([str(HERE / "scale_plot.py"), str(samples), "--out", str(samples.with_suffix(".png"))], stdout=sys.stderr)
        if drawn.returncode:
            say(f"{samples}: no plot of it could be drawn")


def measure(cluster, options, limits):
    chosen = [line for line in LINES if (not options.only or line.name in options.only) and line.name not in options.skip]
    out, told = pathlib.Path(options.out), []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="detektor-spec-") as work:
        options.reference = pathlib.Path(work) / "reference.json"
        for line in chosen:
            found, code = check(line, cluster, options) if line.check else script(line, options)
            (out / f"{line.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            plot(out / f"{line.name}.jsonl")
            told.append({"line": line.name, "what": line.what, "exit": code, **({"error": found["error"]} if "error" in found else {})})
            limits.exactly(f"{line.name}: exit code", code, HELD)
    return {"lines": told, "out": str(out)}


def flags(text):
    name, _, own = text.partition("=")
    if name not in {line.name for line in LINES}:
        raise ValueError(text)
    return name, shlex.split(own)


def arguments(argv=None):
    names = [line.name for line in LINES]
    own = parser(f"{__doc__}\n" + "\n".join(f"  {line.name:14} {line.what}{' (local)' if line.local else ''}" for line in LINES))
    own.add_argument("--only", choices=names, action="append", help="only this line; may be given again")
    own.add_argument("--skip", choices=names, action="append", default=[], help="not this line; may be given again")
    own.add_argument("--cameras", type=int, default=100, help="of the load test")
    own.add_argument("--minutes", type=float, default=30, help="of the load test")
    own.add_argument("--spread", type=int, default=12, help="cameras whose distribution is looked at")
    own.add_argument("--min", type=int, default=3, help="the autoscaler's minimum")
    own.add_argument("--max", type=int, default=50, help="the autoscaler's maximum")
    own.add_argument("--with", dest="more", type=flags, action="append", default=[], metavar="LINE=FLAGS",
                     help="further flags of a line's script, such as --with stateless='--duration=120 --cameras=2'")
    own.add_argument("--out", default="docs/results", help="where each line's result goes")
    options = own.parse_args(argv)
    options.more, options.out = dict(options.more), str(pathlib.Path(options.out).resolve())
    return options


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
