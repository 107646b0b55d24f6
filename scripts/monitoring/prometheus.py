#!/usr/bin/env python3
"""Writes a prometheus.yml that scrapes a Detektor without Kubernetes, with the labels that the chart's ServiceMonitors set.

    prometheus.py --target merge-0=127.0.0.1:9101 --target events-0=127.0.0.1:9102 --token-file token --rabbitmq 127.0.0.1:15692 > prometheus.yml
    prometheus --config.file=prometheus.yml --storage.tsdb.path=data/prometheus

A target's pod is called ROLE-NUMBER. `scripts/stack/stack --prometheus FILE` writes one for what it starts."""

import argparse
import json
import pathlib
import sys

ALERTS = pathlib.Path(__file__).resolve().parents[2] / "charts/detektor/files/alerts.yaml"
# What the chart calls the roles.
COMPONENTS = {"detect": "detection"}


def config(targets, rabbitmq=None, token_file=None, namespace="detektor", interval_s=5):
    """`targets`: pod's name to address."""
    jobs = {}
    for pod, address in targets.items():
        role = pod.rpartition("-")[0] or pod
        component = COMPONENTS.get(role, role)
        labels = {"namespace": namespace, "pod": pod, "component": component}
        jobs.setdefault(component, []).append({"targets": [address], "labels": labels})
    scrapes = []
    for component, found in jobs.items():
        job = {"job_name": f"detektor-{component}", "static_configs": found}
        if component == "events" and token_file:
            job["authorization"] = {"credentials_file": str(pathlib.Path(token_file).absolute())}
        scrapes.append(job)
    if rabbitmq:
        labels = {"namespace": namespace, "pod": "rabbitmq-0"}
        scrapes.append({"job_name": "rabbitmq", "static_configs": [{"targets": [rabbitmq], "labels": labels}]})
    return {
        "global": {"scrape_interval": f"{interval_s}s", "evaluation_interval": f"{interval_s}s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": scrapes,
    }


def write(path, *args, **more):
    # JSON is YAML.
    pathlib.Path(path).write_text(json.dumps(config(*args, **more), indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", default=[], metavar="ROLE-NUMBER=HOST:PORT", help="as often as there are processes")
    parser.add_argument("--rabbitmq", metavar="HOST:PORT", help="where its plugin rabbitmq_prometheus listens")
    parser.add_argument("--token-file", help="the events role's token for readers, where it has one")
    parser.add_argument("--namespace", default="detektor")
    parser.add_argument("--interval-s", type=int, default=5)
    options = parser.parse_args()
    targets = dict(target.split("=", 1) for target in options.target)
    text = config(targets, options.rabbitmq, options.token_file, options.namespace, options.interval_s)
    json.dump(text, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
