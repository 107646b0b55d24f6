#!/usr/bin/env python3
"""Writes a prometheus.yml that scrapes a Detektor without the Prometheus operator, with the labels that the chart's ServiceMonitors set.

    prometheus.py --target merge-0=127.0.0.1:9101 --target events-0=127.0.0.1:9102 --token-file token --rabbitmq 127.0.0.1:15692 > prometheus.yml
    prometheus.py --kubernetes http://127.0.0.1:8001 --kube-state-metrics kube-state-metrics:8080 --token-file token > prometheus.yml
    prometheus --config.file=prometheus.yml --storage.tsdb.path=data/prometheus

A target's pod is called ROLE-NUMBER. `scripts/stack/stack --prometheus FILE` writes one for what it starts. The second form finds the pods of
Detektor, RabbitMQ and KEDA, and the nodes' own figures, by what `kubectl proxy` answers; Prometheus has to run where it reaches pods."""

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
    return whole(scrapes, interval_s)


def cluster_config(api, token_file=None, kube_state_metrics=None, namespace="detektor", keda="keda", interval_s=5):
    """What is found in a cluster. `api`: where `kubectl proxy` listens."""
    meta = "__meta_kubernetes_pod_"

    def relabel(source, target=None, **more):
        return {"source_labels": source if isinstance(source, list) else [source], **({"target_label": target} if target else {}), **more}

    def pods(job, where, *rules, **more):
        found = {"role": "pod", "api_server": api, "namespaces": {"names": [where]}}
        running = relabel(f"{meta}phase", action="keep", regex="Running")
        names = [relabel("__meta_kubernetes_namespace", "namespace"), relabel(f"{meta}name", "pod")]
        return {"job_name": job, "kubernetes_sd_configs": [found], "relabel_configs": [running, *rules, *names], **more}

    def ours(job, action, **more):
        component = f"{meta}label_app_kubernetes_io_component"
        return pods(
            job,
            namespace,
            relabel(f"{meta}label_app_kubernetes_io_name", action="keep", regex="detektor"),
            relabel(f"{meta}container_port_name", action="keep", regex="http"),
            relabel(component, action=action, regex="events"),
            relabel(component, "component"),
            **more,
        )

    def at(port):
        return relabel(f"{meta}ip", "__address__", replacement=f"$1:{port}")

    host = api.split("://", 1)[-1]
    scrapes = [
        ours("detektor", "drop"),
        ours("detektor-events", "keep", **({"authorization": {"credentials_file": str(pathlib.Path(token_file).absolute())}} if token_file else {})),
        # One target for each pod, whatever ports it names.
        pods("rabbitmq", namespace, relabel(f"{meta}label_app_kubernetes_io_name", action="keep", regex="rabbitmq"), at(15692)),
        pods("keda", keda, relabel([f"{meta}label_app", f"{meta}container_init"], action="keep", regex="keda-operator;false"), at(8080)),
        {
            "job_name": "cadvisor",
            "kubernetes_sd_configs": [{"role": "node", "api_server": api}],
            "relabel_configs": [
                relabel("__meta_kubernetes_node_name", "__metrics_path__", replacement="/api/v1/nodes/$1/proxy/metrics/cadvisor"),
                relabel("__meta_kubernetes_node_name", "node"),
                {"target_label": "__address__", "replacement": host},
            ],
        },
    ]
    if kube_state_metrics:
        # Its series have a namespace and a pod of their own, which are those that are meant.
        scrapes.append({"job_name": "kube-state-metrics", "honor_labels": True, "static_configs": [{"targets": [kube_state_metrics]}]})
    return whole(scrapes, interval_s)


def whole(scrapes, interval_s):
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
    parser.add_argument("--kubernetes", metavar="URL", help="where `kubectl proxy` listens: finds everything in that cluster, but kube-state-metrics")
    parser.add_argument("--kube-state-metrics", metavar="HOST:PORT")
    parser.add_argument("--keda-namespace", default="keda")
    parser.add_argument("--token-file", help="the events role's token for readers, where it has one")
    parser.add_argument("--namespace", default="detektor")
    parser.add_argument("--interval-s", type=int, default=5)
    options = parser.parse_args()
    targets = dict(target.split("=", 1) for target in options.target)
    if options.kubernetes:
        where = (options.namespace, options.keda_namespace, options.interval_s)
        text = cluster_config(options.kubernetes, options.token_file, options.kube_state_metrics, *where)
    else:
        text = config(targets, options.rabbitmq, options.token_file, options.namespace, options.interval_s)
    json.dump(text, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
