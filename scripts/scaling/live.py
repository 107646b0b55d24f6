"""What is wrong with live cameras, and how long nobody was there for them."""

import os
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "chaos"))

from checks import wrong_with_live  # noqa: E402

# The sample footage has so many frames a second.
FPS = float(os.environ.get("DETEKTOR_CAMERAS_FPS") or 30)


def gaps(ledger, since, until):
    """Gaps between two times, in seconds of the Unix clock; the last one, which is still open when a camera is removed, is not."""
    return [
        gap for gap in ledger["gaps"]
        if gap["clock"] == "unix" and gap["from_s"] < until and (gap["until_s"] or until) > since
    ]


def longest_gap(ledger, since, until):
    """The longest of them."""
    return max((round((gap["until_s"] or until) - gap["from_s"], 2) for gap in gaps(ledger, since, until)), default=0.0)


def wrong(records):
    """What is wrong with each camera's record."""
    found = []
    for name, record in records.items():
        problems = wrong_with_live(record["ledger"], record["detections"], record["events"], FPS)
        found += [f"{name}: {problem}" for problem in problems]
    return found


def last_look(record):
    return record["detections"][-1]["time_s"] if record["detections"] else 0.0
