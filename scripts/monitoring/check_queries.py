#!/usr/bin/env python3
"""Runs every query of the dashboard, and every selector and expression of the alarms, against a Prometheus that has scraped a real run.

Prints one JSON object, and exits 1 if a query fails or returns nothing. An alarm's expression returns nothing while all is well, so what
has to return something is each of the series that it names, but for those that only an accident makes (`CALM`); the expression itself only has
to be one that Prometheus takes.
`--without-kubernetes`: leaves out, and lists as `skipped`, what only kube-state-metrics, the kubelet and KEDA can answer."""

import argparse
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

FILES = pathlib.Path(__file__).resolve().parents[2] / "charts/detektor/files"
KUBERNETES = re.compile(r"\b(kube|keda|container)_\w+")
# What there is only where something has gone wrong already.
CALM = re.compile(r'reason="OOMKilled"')
# A series' name, its matchers and none of PromQL's own words behind which there is a parenthesis.
SELECTOR = re.compile(r"\b((?:detektor|rabbitmq|kube|keda|container)_\w+|up\b)(\{[^}]*\})?")


def ask(url, query, token):
    request = urllib.request.Request(f"{url}/api/v1/query", data=urllib.parse.urlencode({"query": query}).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as refused:
        with refused:
            raise ValueError(refused.read().decode(errors="replace")[:500]) from None
    # What is not a number says nothing, as the p99 of nothing.
    return [series for series in found if not math.isnan(float(series["value"][1]))]


def panels(found):
    for panel in found:
        yield panel
        yield from panels(panel.get("panels", []))


def dashboard_queries(path, variables):
    dashboard = json.loads(path.read_text())
    for panel in panels(dashboard["panels"]):
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in variables.items():
                query = re.sub(rf"\$(?:{name}\b|\{{{name}(?::\w+)?\}})", value, query)
            yield f"dashboard: {panel['title']}", query


def alarms(path):
    """Each alarm's name and expression. Reads just the YAML that the file is written in: no module of Python's reads YAML."""
    name, block, depth = None, None, 0
    for line in path.read_text().splitlines():
        indent = len(line) - len(line.lstrip())
        if block is not None:
            if line.strip() and indent <= depth:
                yield name, " ".join(block)
                block = None
            elif not line.strip().startswith("#"):
                block.append(line.strip())
                continue
        alarm, expression = re.match(r"\s*- alert: (\w+)$", line), re.match(r"\s*expr: (.*)$", line)
        if alarm:
            name = alarm[1]
        elif expression and expression[1] == "|":
            block, depth = [], indent
        elif expression:
            yield name, expression[1]
    if block is not None:
        yield name, " ".join(block)


def alarm_queries(path):
    """What has to return something."""
    seen = set()
    for name, expression in alarms(path):
        for selector in SELECTOR.finditer(expression):
            query = selector[0]
            if query not in seen:
                seen.add(query)
                yield f"alarm: {name}", query


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", help="its address, as http://127.0.0.1:9090")
    parser.add_argument("--token-file", help="a bearer token for it")
    parser.add_argument("--namespace", default=".*", help="the dashboard's variable (a regular expression)")
    parser.add_argument("--broker-namespace", default=".*", help="the same, for RabbitMQ's")
    parser.add_argument("--without-kubernetes", action="store_true")
    parser.add_argument("--dashboard", type=pathlib.Path, default=FILES / "dashboard.json")
    parser.add_argument("--alerts", type=pathlib.Path, default=FILES / "alerts.yaml")
    options = parser.parse_args()
    url = options.prometheus.rstrip("/")
    token = pathlib.Path(options.token_file).read_text().strip() if options.token_file else None
    variables = {
        "__rate_interval": "1m",
        "__range": "5m",
        "__interval": "15s",
        "namespace": options.namespace,
        "broker": options.broker_namespace,
    }
    whole = dashboard_queries(options.dashboard, variables)
    wanted = [*whole, *alarm_queries(options.alerts)]
    with_data, without_data, skipped, failed = 0, [], [], []
    for where, query in wanted:
        if options.without_kubernetes and KUBERNETES.search(query):
            skipped.append({"in": where, "query": query})
            continue
        try:
            if ask(url, query, token) or CALM.search(query):
                with_data += 1
            else:
                without_data.append({"in": where, "query": query})
        except ValueError as error:
            failed.append({"in": where, "query": query, "error": str(error)})
    expressions, raised = 0, set()
    for name, expression in alarms(options.alerts):
        expressions += 1
        try:
            if ask(url, expression, token):
                raised.add(name)
        except ValueError as error:
            failed.append({"in": f"alarm: {name}", "query": expression, "error": str(error)})
    report = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "queries": len(wanted),
        "with_data": with_data,
        "without_data": without_data,
        "skipped": skipped,
        "expressions": expressions,
        "true_now": sorted(raised),
        "failed": failed,
    }
    print(json.dumps(report, indent=2))
    return 1 if without_data or failed else 0


if __name__ == "__main__":
    sys.exit(main())
