"""What a file came to, pass by pass, and how that differs from an undisturbed run of the same footage.

Each pass of a file is an epoch of its own, with times of its own, and everything open ends with it. So a pass is comparable to
any other of the same footage, whatever the camera's name, as long as its gate is off: a gate gives each camera turns of its own.
"""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "chaos"))

from checks import differences  # noqa: E402


def split(record, camera):
    """A camera's passes, oldest first, each with its events and looks without anything that names camera or epoch."""
    passes = {}
    for look in record["detections"]:
        epoch = look["epoch"]
        one = passes.setdefault(epoch, {"events": [], "looks": []})
        one["looks"].append({key: value for key, value in look.items() if key != "camera"} | {"epoch": 0})
    for event in record["events"]:
        epoch, rest = event["id"].removeprefix(f"{camera}.").split(".", 1)
        one = passes.setdefault(int(epoch), {"events": [], "looks": []})
        plain = {key: value for key, value in event.items() if key not in ("camera", "id", "snapshot_url", "clip_url")}
        for which in ("first_segment", "last_segment"):
            plain[which] = plain[which].rpartition("/")[2]
        one["events"].append({"id": rest, **plain})
    for one in passes.values():
        one["events"].sort(key=lambda event: event["id"])
    return [passes[epoch] for epoch in sorted(passes)]


class Reference:
    """What one pass comes to, of an undisturbed run of two: both have to be the same, else passes cannot be compared."""

    def __init__(self, record, camera, passes):
        found, ledger = split(record, camera), record["ledger"]
        self.wrong = []
        if len(found) != passes or not ledger["closes"]:
            self.wrong.append(f"of {passes} passes {len(found)} are there; ledger: {ledger}")
        elif any(one != found[0] for one in found):
            self.wrong.append("two passes of the same footage differ even undisturbed")
        elif not found[0]["events"]:
            self.wrong.append("nothing was seen in the footage, so comparing with it shows nothing")
        self.one = found[0] if found else {"events": [], "looks": []}
        self.captured, self.segments = ledger["captured"] / passes, ledger["segments"] / passes

    def as_json(self):
        return {"one": self.one, "captured": self.captured, "segments": self.segments}

    @classmethod
    def of_json(cls, table):
        self = cls.__new__(cls)
        self.one, self.captured, self.segments, self.wrong = table["one"], table["captured"], table["segments"], []
        return self

    def compare(self, record, camera, passes=None):
        """What is lost and what is doubled of a camera that ended after so many passes; without a number it was stopped
        somewhere, and the last pass is left to the ledger."""
        found, ledger = split(record, camera), record["ledger"]
        lost, doubled = [], []
        if not ledger["closes"]:
            lost.append(f"ledger of {camera} does not close: {brief(ledger)}")
        if ledger["failed"]:
            lost.append(f"frames of {camera} failed: {ledger['failed']}")
        whole = found[: passes if passes is not None else max(0, len(found) - 1)]
        if passes is not None:
            (lost if len(found) < passes else doubled).extend(
                [f"{camera} has {len(found)} passes instead of {passes}"] if len(found) != passes else []
            )
            for what, each in (("captured", self.captured), ("segments", self.segments)):
                if ledger[what] != each * passes:
                    side = lost if ledger[what] < each * passes else doubled
                    side.append(f"ledger of {camera}: {what} {ledger[what]} instead of {each * passes:.0f}")
        for number, one in enumerate(whole):
            less, more = differences(as_run(self.one, camera, number), as_run(one, camera, number))
            lost, doubled = lost + less, doubled + more
        return lost, doubled


def as_run(one, camera, number):
    """A pass in the form that the checks of chaos take: a camera of its own. Its counts are checked over all passes."""
    name = f"{camera}, pass {number}"
    events = [{**event, "id": f"{name}: {event['id']}"} for event in one["events"]]
    ledger = {"closes": True, "captured": 0, "segments": 0}
    return {"events": events, "detections": {name: one["looks"]}, "ledgers": {name: ledger}}


def brief(ledger):
    return {key: value for key, value in ledger.items() if key not in ("gaps", "camera")}
