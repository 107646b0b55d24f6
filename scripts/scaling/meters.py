"""What pods that come and go have counted, by their pages for Prometheus and the broker's."""

import json
import os
import pathlib
import re
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))

import histogram  # noqa: E402
from kube import CannotRun, Refused  # noqa: E402

SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? ([-+0-9.eE]+|NaN)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# From a segment's end until its events can be read; the same from its last frame; and where that time goes.
WHOLE = ("detektor_merge_closed_to_merged_seconds", ())
CAPTURED = ("detektor_merge_captured_to_merged_seconds", ())
STAGE = "detektor_merge_stage_seconds"
PROMETHEUS_PORT = 15692


def samples(text):
    """Every number on a page: {(name, ((label, value), …)): number}."""
    found = {}
    for line in text.splitlines():
        if match := SAMPLE.match(line):
            labels = tuple(sorted(LABEL.findall(match[2] or "")))
            found[match[1], labels] = float(match[3])
    return found


def total(found, name, **labels):
    """The sum of a metric's numbers whose labels are so."""
    wanted = set(labels.items())
    return sum(value for (other, have), value in found.items() if other == name and wanted <= set(have))


class Counters:
    """Sums of counters whose pages come and go: what each rose by since the first look. A page that is new counts from zero, one
    that fell began anew."""

    def __init__(self):
        self.last, self.sums, self.looked = {}, {}, False

    def look(self, pages):
        """`pages`: {who: {key: number}}."""
        for who, page in pages.items():
            for key, value in page.items():
                before = self.last.get((who, key), 0 if self.looked else value)
                self.sums[key] = self.sums.get(key, 0) + (value - before if value >= before else value)
                self.last[who, key] = value
        self.looked = self.looked or bool(pages)


class Histograms:
    """Histograms of a component's pods, added up from the first look on."""

    def __init__(self, cluster, component="merge"):
        self.cluster, self.component, self.counters = cluster, component, Counters()

    def look(self):
        pages = {}
        for pod in self.cluster.pods(self.component):
            try:
                buckets = {}
                histogram.add(self.cluster.metrics(pod), buckets)
                pages[pod.name] = {(key, border): count for key, one in buckets.items() for border, count in one.items()}
            except (OSError, Refused):
                continue
        self.counters.look(pages)

    def buckets(self):
        found = {}
        for (key, border), count in self.counters.sums.items():
            found.setdefault(key, {})[border] = int(count)
        return found

    def latency(self, under_s=0.2):
        """Count, p50, p99, and by stage, in milliseconds."""
        found = self.buckets()
        stages = {dict(labels).get("stage"): buckets for (name, labels), buckets in found.items() if name == STAGE}
        summary = lambda buckets: histogram.summary(buckets, under_s) if buckets else {"count": 0}  # noqa: E731
        return {
            "whole": summary(found.get(WHOLE)),
            "from_capture": summary(found.get(CAPTURED)),
            "by_stage": {stage: summary(buckets) for stage, buckets in sorted(stages.items()) if stage and buckets[float("inf")]},
        }


class Broker:
    """RabbitMQ, by its Prometheus pages where it runs in the namespace; else only what `detektor partitions` says."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.service = os.environ.get("DETEKTOR_RABBITMQ_SERVICE") or "rabbitmq"
        self.counters = Counters()

    def pods(self):
        return self.cluster.pods_of_service(self.service)

    def look(self):
        """Adds up what was delivered again; whether anybody could be asked."""
        pages = {}
        for pod in self.pods():
            try:
                found = samples(self.cluster.metrics(pod, PROMETHEUS_PORT))
            except (OSError, Refused):
                continue
            pages[pod.name] = {"redelivered": total(found, "rabbitmq_global_messages_redelivered_total")}
        self.counters.look(pages)
        return bool(pages)

    def redelivered(self):
        """Messages delivered again since the first look. None where nobody counts. What a member counted between the last look and
        its own end is not known."""
        return int(self.counters.sums["redelivered"]) if "redelivered" in self.counters.sums else None

    def depth(self):
        """What the queues hold, ready or in work, by kind of work."""
        found = {}
        for pod in self.pods():
            try:
                page = self.cluster.metrics(pod, PROMETHEUS_PORT, "metrics/detailed?family=queue_coarse_metrics")
            except (OSError, Refused):
                continue
            for (name, labels), value in samples(page).items():
                if name == "rabbitmq_detailed_queue_messages":
                    # A member that led before may still say what it knew.
                    queue = dict(labels)["queue"]
                    found[queue] = max(found.get(queue, 0), int(value))
        if not found:
            try:
                queues = json.loads(self.cluster.detektor("partitions", "--json", patience_s=5))["queues"]
            except (CannotRun, OSError, Refused):
                return {}
            found = {queue["queue"]: queue["ready"] + queue["unacked"] for queue in queues}
        work = lambda kind: sum(held for queue, held in found.items() if re.fullmatch(rf"{kind}\.\d+", queue))  # noqa: E731
        return {"detect": work("detect"), "merge": work("merge")}
