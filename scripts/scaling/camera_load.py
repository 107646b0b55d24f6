"""The load test: so many cameras for so many minutes, what became of their frames, and how long it took.

A frame is processed when detect has looked at it, or has left it out by its gate (`quiet`) or its sampling; each is told apart, and so
are frames that were shed or superseded, which are not processed, and those that failed. `p99_latency_ms` is from a segment's
end until its events can be read; `by_stage` says where that time goes. The first --warm seconds do not count.
"""

import sys
import time

from load import Load, need_live
from meters import Broker, Histograms
from script import keeping, parser, run, say

LOOK_EVERY_S = 10
# What detect has handled, of what the ledger calls skipped.
HANDLED = ("quiet", "sampling", "second_field")


def sums(ledgers):
    """Frames of all cameras by what became of them."""
    found = {"captured": 0, "detected": 0, "segments": 0, "failed": 0, "skipped": {}}
    for ledger in ledgers:
        for what in ("captured", "detected", "segments"):
            found[what] += ledger[what]
        found["failed"] += sum(ledger["failed"].values())
        for reason, count in ledger["skipped"].items():
            found["skipped"][reason] = found["skipped"].get(reason, 0) + count
    return found


def rates(before, after, seconds):
    """Frames a second between two such sums."""
    reasons = {reason: after["skipped"][reason] - before["skipped"].get(reason, 0) for reason in after["skipped"]}
    captured, failed = after["captured"] - before["captured"], after["failed"] - before["failed"]
    looked_at = after["detected"] - before["detected"]
    processed = looked_at + sum(reasons.get(reason, 0) for reason in HANDLED)
    each = lambda frames: round(frames / seconds, 2)  # noqa: E731
    return {
        "processed_fps": each(processed),
        "captured_fps": each(captured),
        "looked_at_fps": each(looked_at),
        "skipped_fps": {reason: each(count) for reason, count in sorted(reasons.items())},
        "failed_fps": each(failed),
        "failed_frames_percent": round(100 * failed / captured, 4) if captured else None,
        "shed_percent": round(100 * reasons.get("shed", 0) / captured, 4) if captured else None,
        "segments_per_s": each(after["segments"] - before["segments"]),
    }


def measure(cluster, options, limits):
    if options.kind == "live":
        need_live(cluster)
    broker, histograms = Broker(cluster), Histograms(cluster)
    with Load(cluster, options.keep) as load:
        names, policy = [], {"detect": {"fps": options.fps}}
        say(f"{options.cameras} cameras ({options.kind})")
        while len(names) < options.cameras:
            count = min(options.at_once, options.cameras - len(names))
            names += load.files(count, **policy) if options.kind == "files" else load.live(count, **policy)
        load.until_running(names, 120 + 2 * options.cameras)
        time.sleep(options.warm)
        ledgers = lambda: sums(load.api.ledger(name) for name in names)  # noqa: E731
        before, begun = ledgers(), time.monotonic()
        histograms.look()
        broker.look()
        deepest, most = 0, 0
        while (left := 60 * options.minutes - (time.monotonic() - begun)) > 0:
            time.sleep(min(left, LOOK_EVERY_S))
            histograms.look()
            broker.look()
            deepest = max(deepest, broker.depth().get("detect", 0))
            most = max(most, sum(pod.ready for pod in cluster.pods("detection")))
        after, seconds = ledgers(), time.monotonic() - begun
        histograms.look()
        latency = histograms.latency()
        load.remove(names)
        cameras = load.until_done(names, 600)
    whole = latency["whole"]
    found = {
        "cameras": options.cameras, "minutes": options.minutes, "kind": options.kind, **rates(before, after, seconds),
        "p99_latency_ms": whole.get("p99_ms"), "p50_latency_ms": whole.get("p50_ms"), "latency": whole,
        "from_capture": latency["from_capture"], "by_stage": latency["by_stage"], "detection_pods": most, "deepest_queue": deepest,
        "redelivered": broker.redelivered(), "ledger_closes": all(camera["closes"] for camera in cameras.values()),
    }
    limits.above("processed, frames a second", found["processed_fps"], options.fps_each * options.cameras)
    limits.below("failed frames, %", found["failed_frames_percent"], options.failed)
    limits.below("p99 latency, ms", found["p99_latency_ms"], options.latency)
    limits.exactly("ledger closes", found["ledger_closes"], True)
    return found


def arguments(argv=None):
    own = parser(__doc__)
    own.add_argument("--cameras", type=int, default=100)
    own.add_argument("--minutes", type=float, default=30)
    own.add_argument("--kind", choices=("files", "live"), default="files", help="files in real time, or RTSP streams")
    own.add_argument("--fps", type=int, default=5, help="looks a second at each camera where something moves")
    own.add_argument("--at-once", type=int, default=10, help="cameras that are wanted in one go")
    own.add_argument("--warm", type=float, default=30, help="seconds that do not count")
    own.add_argument("--fps-each", type=float, default=29.0, help="frames a second that each camera's share has to be above")
    own.add_argument("--failed", type=float, default=0.1, help="percent of frames that may not be reached by those that fail")
    own.add_argument("--latency", type=float, default=200.0, help="milliseconds that the 99th percentile has to stay below")
    keeping(own)
    return own.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(measure, arguments()))
