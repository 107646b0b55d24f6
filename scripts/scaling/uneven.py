"""Loads the dispatchers unevenly, and shows that the balancer sees the hotspot and that it is gone.

Cameras are spread over all dispatchers; then all of them are taken away but those of one, which so carries everything.
`hotspot_ratio` is the largest load of a dispatcher as a share of the mean: as many as there are dispatchers at first, and 1 where all
carry the same. `rebalanced` counts the lines by which the pods with the label app=load-balancer tell of cameras that they moved away.
With --duration the load goes on for so long, and the hotspot must not come back.
"""

import json
import sys
import time

from kube import CannotRun, NotInTime
from load import Load
from script import keeping, parser, run, say

PLACED_S = 120
# Costs are measured over a while, and the balancer keeps still for half a minute after each move.
LOOK_EVERY_S = 5


def placement(cluster):
    return json.loads(cluster.detektor("placement", "--json"))


def ratio(report):
    """The largest load as a share of the mean, by what cameras cost; by their number, where nothing is measured yet."""
    staying = [node for node in report["nodes"] if not node["leaving"]]
    for what in ("load", "camera_count"):
        loads = [node[what] for node in staying]
        if sum(loads) > 0:
            return round(max(loads) * len(loads) / sum(loads), 3)
    return 1.0


def where(report, names):
    """The cameras of each dispatcher, of these."""
    found = {node["name"]: [] for node in report["nodes"]}
    for row in report["cameras"]:
        if row["camera"] in names and row["dispatcher"] in found:
            found[row["dispatcher"]].append(row["camera"])
    return found


def rebalanced(lines, hot):
    """Lines that tell of a camera that was moved away from the hot dispatcher."""
    told = [json.loads(line[line.index("{"):]) for line in lines if "rebalanced" in line]
    return [one for one in told if one["message"] == "rebalanced" and one.get("from", "").startswith(hot)]


def logs(cluster, since):
    call = ["logs", "-n", cluster.namespace, "-l", f"app=load-balancer,app.kubernetes.io/instance={cluster.release}"]
    call += [f"--since-time={since}", "--tail=-1", "--prefix", "--ignore-errors"]
    return cluster.kubectl(*call, timeout=60).splitlines()


def spread(cluster, names, patience_s):
    """Waits until these cameras are placed evenly, and answers where they are."""
    begun = time.monotonic()
    while True:
        report = placement(cluster)
        here = where(report, set(names))
        if sum(map(len, here.values())) == len(names) and all(here.values()):
            return here
        if time.monotonic() - begun > patience_s:
            raise NotInTime(f"cameras are not spread over all dispatchers after {patience_s} s: {json.dumps(report['nodes'])}")
        time.sleep(2)


def measure(cluster, options, limits):
    dispatchers = len([pod for pod in cluster.pods("dispatcher") if pod.ready])
    if dispatchers < 2:
        raise CannotRun("there is one dispatcher, so nothing can be uneven: install the chart with dispatcher.replicas=2 or more")
    # After the hotspot each dispatcher is to carry the same again: two cameras.
    count = options.cameras or 2 * dispatchers * dispatchers
    with Load(cluster, options.keep) as load:
        names = load.files(count, detect={"fps": 1})
        load.until_running(names)
        here = spread(cluster, names, PLACED_S)
        # What they cost is measured meanwhile.
        time.sleep(options.measured)
        if not options.uneven:
            report = placement(cluster)
            found = {"cameras": count, "dispatchers": dispatchers, "rebalanced": 0, "hotspot_ratio": ratio(report)}
            limits.at_most("hotspot ratio", found["hotspot_ratio"], options.ratio)
            return found
        hot = max(here, key=lambda name: len(here[name]))
        say(f"{hot} keeps its {len(here[hot])} cameras, the others lose theirs")
        since, begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
        load.remove([name for name in names if name not in here[hot]])
        # What is placed is looked at every few seconds; the balancer may be quicker.
        hottest, gone_s, seen, last = float(len(here)), None, [], None
        while time.monotonic() - begun < options.duration:
            report = placement(cluster)
            last = ratio(report)
            hottest = max(hottest, last)
            fine = last <= options.ratio and not report["rebalance_needed"]
            if fine and gone_s is None:
                gone_s = round(time.monotonic() - begun, 1)
                say(f"the hotspot is gone after {gone_s} s: ratio {last}")
            gone_s = gone_s if fine else None
            seen.append({"at_s": round(time.monotonic() - begun, 1), "hotspot_ratio": last})
            time.sleep(LOOK_EVERY_S)
        moved = rebalanced(logs(cluster, since), hot)
        after = where(placement(cluster), set(here[hot]))
    found = {
        "cameras": count, "dispatchers": dispatchers, "hotspot": hot, "rebalanced": len(moved), "hotspot_ratio_before": hottest,
        "hotspot_ratio": last, "gone_after_s": gone_s, "cameras_after": {name: len(cameras) for name, cameras in after.items()},
        "samples": seen,
    }
    limits.at_least("cameras moved away, by the `rebalanced` lines of app=load-balancer", len(moved), 1)
    limits.exactly("every dispatcher has cameras in the end", all(after.values()), True)
    limits.at_most("hotspot ratio in the end", last, options.ratio)
    return found


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--uneven", action="store_true", help="make a hotspot; else the load is even and only looked at")
    own.add_argument("--duration", type=int, default=300, help="seconds that the hotspot is watched")
    own.add_argument("--cameras", type=int, help="at first; else twice the square of the number of dispatchers")
    own.add_argument("--measured", type=int, default=30, help="seconds until the cameras' costs are known")
    own.add_argument("--ratio", type=float, default=1.3, help="from what on a dispatcher is a hotspot")
    keeping(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
