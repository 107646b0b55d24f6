"""What every script here has in common: limits, one JSON object on standard output, and the exit code."""

import argparse
import json
import sys

from kube import CannotRun, Cluster, NotInTime, end_properly

HELD, MISSED, CANNOT_RUN = 0, 1, 2


class Limits:
    """What was found beside what it may be."""

    def __init__(self):
        self.all = []

    def at_most(self, what, found, limit):
        self.note(what, found, f"<= {limit}", found is not None and found <= limit)

    def at_least(self, what, found, limit):
        self.note(what, found, f">= {limit}", found is not None and found >= limit)

    def below(self, what, found, limit):
        self.note(what, found, f"< {limit}", found is not None and found < limit)

    def above(self, what, found, limit):
        self.note(what, found, f"> {limit}", found is not None and found > limit)

    def exactly(self, what, found, limit):
        self.note(what, found, f"= {json.dumps(limit)}", found == limit)

    def note(self, what, found, limit, held):
        self.all.append({"what": what, "found": found, "limit": limit, "held": held})
        say(f"{'held  ' if held else 'MISSED'} {what}: {json.dumps(found)} ({limit})")

    def held(self):
        return all(limit["held"] for limit in self.all)


def say(*what):
    """Progress, for people."""
    print(*what, file=sys.stderr, flush=True)


def parser(description):
    return argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Takes any KUBECONFIG; DETEKTOR_NAMESPACE and DETEKTOR_RELEASE (both: detektor) say which release. Prints one JSON "
        "object. Exit code: 0 all limits held, 1 one was missed, 2 it could not be run here.",
    )


def keeping(own):
    """Adds what every script takes that has cameras of its own."""
    own.add_argument("--keep", action="store_true", help="keep the cameras' history")


def comparing(own):
    """Adds what every script takes that compares with an undisturbed run."""
    own.add_argument("--reference", help="a file that keeps what the footage comes to undisturbed, from one run to the next")
    keeping(own)


def run(measure, options, needs_cluster=True):
    """Measures and says how it went. `measure(cluster, options, limits)` answers a table; what it finds goes to `limits`."""
    end_properly()
    limits, cluster = Limits(), Cluster()
    try:
        try:
            if needs_cluster:
                cluster.open()
            found = measure(cluster, options, limits)
            found = {**found, "limits": limits.all, "held": limits.held()}
            if needs_cluster:
                found["cluster"] = cluster.describe()
        except NotInTime as error:
            print(json.dumps({"error": str(error), "limits": limits.all, "held": False}))
            say(f"MISSED {error}")
            return MISSED
        except CannotRun as error:
            print(json.dumps({"error": str(error), "held": False}))
            say(f"cannot run: {error}")
            return CANNOT_RUN
        except KeyboardInterrupt:
            print(json.dumps({"error": "interrupted", "limits": limits.all, "held": False}))
            return CANNOT_RUN
    finally:
        cluster.close()
    print(json.dumps(found))
    return HELD if found["held"] else MISSED
