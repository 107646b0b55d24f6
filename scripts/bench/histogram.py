"""Prometheus histograms out of /metrics."""

import re
import urllib.request

LINE = re.compile(r'^(\w+)_bucket\{(.*)\} (\d+)$')
LABEL = re.compile(r'(\w+)="([^"]*)"')


def scrape(ports):
    """The buckets of every histogram, summed over processes: {(name, labels): {border: count}}."""
    found = {}
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            add(answer.read().decode(), found)
    return found


def add(text, found):
    """Adds the buckets of one page."""
    for line in text.splitlines():
        if match := LINE.match(line):
            labels = dict(LABEL.findall(match[2]))
            border = float(labels.pop("le"))
            buckets = found.setdefault((match[1], tuple(sorted(labels.items()))), {})
            buckets[border] = buckets.get(border, 0) + int(match[3])


def between(before, after):
    """What came in between two scrapes."""
    return {
        key: {border: count - before.get(key, {}).get(border, 0) for border, count in buckets.items()}
        for key, buckets in after.items()
    }


def quantile(buckets, share):
    """Linear within its bucket, as Prometheus's histogram_quantile does it. None of nothing, or beyond the last border."""
    borders = sorted(buckets)
    rank = share * buckets[borders[-1]]
    below, lower = 0, 0.0
    for border in borders:
        count = buckets[border]
        if count >= rank and count > below:
            return None if border == float("inf") else lower + (border - lower) * (rank - below) / (count - below)
        below, lower = count, border
    return None


def summary(buckets, under_s):
    """Count, p50 and p99 in milliseconds, and the share that took at most `under_s`, which is a border."""
    count = buckets[float("inf")]
    if not count:
        return {"count": 0}
    ms = {name: quantile(buckets, share) for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    ms = {name: None if value is None else round(1000 * value, 1) for name, value in ms.items()}
    return {"count": count, **ms, f"within_{round(1000 * under_s)}_ms": round(buckets[under_s] / count, 4)}
