"""Asks the events API without pause, and keeps count.

A request is what a user wants to know. Whoever gets no answer, since the pod that it reached died, asks again at once over a new
connection, as HTTP clients do with a GET, and gives up a connection that does not come about within a third of a second; a request has
failed if there is no answer within `RETRY_S`, or if the answer is another status than 200.
"""

import threading
import time

from kube import CannotRun, NoAnswer

TIMEOUT_S = 3
# As long as a Service may lead to a pod that is gone, and a little.
RETRY_S = 5
AGAIN_AFTER_S = 0.05


class Probe(threading.Thread):
    """One client: a request every `pause` seconds, by turns to each path."""

    def __init__(self, api, paths, pause):
        super().__init__(daemon=True)
        self.api, self.paths, self.pause = api, paths, pause
        self.requests = self.failed = self.retried = 0
        self.errors, self.slowest_s = [], 0.0
        # Since when there is no answer, the longest that ever lasted, and all of it together.
        self.bad_since, self.longest_s, self.unanswered_s = None, 0.0, 0.0
        self.told = threading.Event()

    def run(self):
        while not self.told.wait(self.pause):
            self.request(self.paths[self.requests % len(self.paths)])

    def request(self, path):
        begun = attempt = time.monotonic()
        self.requests += 1
        while True:
            try:
                status, body = self.api.route.ask(path, TIMEOUT_S)
            except (NoAnswer, CannotRun) as silent:
                self.bad_since = self.bad_since or attempt
                if time.monotonic() - begun > RETRY_S:
                    return self.fails(str(silent))
                self.retried += 1
                self.told.wait(AGAIN_AFTER_S)
                attempt = time.monotonic()
                continue
            if status != 200:
                self.bad_since = self.bad_since or attempt
                return self.fails(f"{path}: status {status}: {body[:200]!r}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            self.outage_ends()
            return None

    def fails(self, why):
        self.failed += 1
        self.errors.append(f"{time.strftime('%H:%M:%S')} {why}")

    def outage_ends(self):
        if self.bad_since:
            lasted_s = time.monotonic() - self.bad_since
            self.longest_s, self.unanswered_s = max(self.longest_s, lasted_s), self.unanswered_s + lasted_s
            self.bad_since = None

    def downtime_s(self):
        """The longest time without an answer so far."""
        return max(self.longest_s, time.monotonic() - self.bad_since if self.bad_since else 0.0)

    def stop(self):
        self.told.set()
        if self.is_alive():
            self.join(RETRY_S + TIMEOUT_S + 1)
        # What comes later is nobody's outage.
        self.outage_ends()


def totals(probes):
    """What all clients together counted."""
    return {
        "requests": sum(probe.requests for probe in probes),
        "failed_requests": sum(probe.failed for probe in probes),
        "retried": sum(probe.retried for probe in probes),
        "downtime_s": round(max(probe.downtime_s() for probe in probes), 2),
        "unanswered_s": round(max(probe.unanswered_s for probe in probes), 2),
        "slowest_request_s": round(max(probe.slowest_s for probe in probes), 2),
        "errors": [error for probe in probes for error in probe.errors][:10],
    }
