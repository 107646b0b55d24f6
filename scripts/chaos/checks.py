"""What must hold of what was recorded."""

# Capture times follow the arrival of frames, smoothed: they may be off by this much.
SLACK_S = 0.2
# Looks are this far apart at most where nothing is wrong; how much of the record has no look at its beginning and end.
EDGE_S = 2.0


def differences(expected, found):
    """What is missing of events, frames and detections of files, and what should not be there."""
    lost, doubled = [], []
    known, seen = ({event["id"]: event for event in run["events"]} for run in (expected, found))
    for key, event in known.items():
        if key not in seen:
            lost.append(f"event {key}")
        elif changed := {field for field, value in event.items() if seen[key].get(field) != value}:
            lost.append(f"event {key} as it was: {sorted(changed)} changed")
    doubled += [f"event {key}" for key in seen if key not in known]
    if len(found["events"]) != len(seen):
        doubled.append("an event id is listed twice")
    for camera, ledger in expected["ledgers"].items():
        other = found["ledgers"][camera]
        if not other["closes"]:
            lost.append(f"ledger of {camera} does not close: {other}")
        if other != ledger:
            less = other["captured"] < ledger["captured"] or other["segments"] < ledger["segments"]
            (lost if less else doubled).append(f"ledger of {camera}: {other} instead of {ledger}")
        looks, others = (frames(run["detections"][camera]) for run in (expected, found))
        if len(others) > len(set(others)):
            doubled.append(f"frames of {camera} stand there twice")
        if found["detections"][camera] != expected["detections"][camera]:
            missing = sorted(set(looks) - set(others))
            lost.append(f"detections of {camera} differ; missing: {missing[:5]}")
    return lost, doubled


def frames(looks):
    return [(look["epoch"], look["frame"]) for look in looks]


def wrong_with_live(ledger, looks, events, fps):
    """What is wrong with a live camera's record. Of the time between its first and last look, each moment is either in a
    frame or in a gap that the ledger names."""
    wrong, ids, times = [], [event["id"] for event in events], [look["time_s"] for look in looks]
    numbers = frames(looks)
    gone = sum(ledger["skipped"].values()) + sum(ledger["failed"].values())
    wrong += [] if ledger["closes"] else ["the ledger does not close"]
    wrong += [] if ledger["captured"] == ledger["detected"] + gone else ["captured is not detected + skipped + failed"]
    wrong += [] if not ledger["failed"] else [f"frames failed: {ledger['failed']}"]
    wrong += ["a frame stands there twice"] if len(set(numbers)) < len(numbers) else []
    wrong += ["an event stands there twice"] if len(set(ids)) < len(ids) else []
    wrong += ["frames are out of order"] if numbers != sorted(numbers) or times != sorted(times) else []
    spans = gaps(ledger)
    wrong += ["gaps overlap"] if any(one[1] > other[0] for one, other in zip(spans, spans[1:])) else []
    if ledger["captured"] == 0 or not looks:
        return [*wrong, "nothing was captured"]
    inside = sum(max(0.0, min(end, times[-1]) - max(begin, times[0])) for begin, end in spans)
    expected = times[-1] - times[0] - inside
    # What two epochs both have counts once.
    found = (ledger["captured"] - ledger["skipped"].get("superseded", 0)) / fps
    allowed = EDGE_S + 2 * SLACK_S * len(spans) + 0.02 * expected
    if abs(expected - found) > allowed:
        wrong.append(f"{expected:.1f} s are in no gap, and frames for {found:.1f} s were captured")
    return wrong


def gaps(ledger):
    return [(gap["from_s"], gap["until_s"] or float("inf")) for gap in ledger["gaps"]]


def in_a_gap(ledger, at):
    return any(begin - SLACK_S <= at <= end + SLACK_S for begin, end in gaps(ledger))

