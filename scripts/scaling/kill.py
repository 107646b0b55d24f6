"""Kills a pod's processes as a crash does, or the kernel where memory is short: by SIGKILL, without a goodbye.

`kubectl delete --grace-period=0 --force` is none: it forgets the pod at once, but its node still asks the processes to end, and gives them
the time that the pod asks for. So a pod of ours, which sees the processes of its node, finds those of the pod's containers by their control
groups, and sends the signal; it may do nothing else. It runs in kube-system for a moment, since Pod Security lets none in where Detektor is.
"""

import json
import os
import secrets
import time

from kube import CannotRun, NotInTime
from script import say

SPACE = "kube-system"
WITHIN_S = 60
# Processes that end meanwhile are no mistake. Fails where there was none to kill.
SCRIPT = """none=1
for one in /proc/[0-9]*; do
  if grep -qE "$CONTAINERS" "$one/cgroup"; then kill -KILL "${one#/proc/}" && none=0; fi
done 2>/dev/null
exit $none"""


def kill(cluster, pod):
    """Kills a pod; its node starts its containers anew. Whether there was anything to kill."""
    say(f"pod {pod}: killed")
    name = f"kill-{pod.name[:40]}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest(cluster, pod, name)))
    try:
        return until_over(cluster, name) == "Succeeded"
    finally:
        cluster.kubectl("delete", "pod", "-n", SPACE, name, "--wait=false", "--ignore-not-found")


def until_over(cluster, name):
    begun = time.monotonic()
    while True:
        status = cluster.get(f"/api/v1/namespaces/{SPACE}/pods/{name}")["status"]
        if status.get("phase") in ("Succeeded", "Failed"):
            return status["phase"]
        if time.monotonic() - begun > WITHIN_S:
            raise NotInTime(
                f"the pod {name} in {SPACE}, which kills another one, has not run within {WITHIN_S} s: {json.dumps(status)[:500]}; "
                "if its image is the trouble, set DETEKTOR_KILL_IMAGE to one that has a shell and grep"
            )
        time.sleep(0.2)


def manifest(cluster, pod, name):
    if not pod.containers:
        raise CannotRun(f"pod {pod} has no container that runs, so there is nothing to kill")
    own = cluster.deployment("balancer")["spec"]["template"]["spec"]["containers"][0]["image"]
    container = {
        "name": "kill",
        "image": os.environ.get("DETEKTOR_KILL_IMAGE") or own,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SCRIPT],
        "env": [{"name": "CONTAINERS", "value": "|".join(pod.containers)}],
        "securityContext": {
            "runAsUser": 0, "runAsNonRoot": False, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["KILL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {
        "nodeName": pod.node, "hostPID": True, "restartPolicy": "Never", "activeDeadlineSeconds": WITHIN_S,
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "tolerations": [{"operator": "Exists"}],
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": SPACE}, "spec": spec}
