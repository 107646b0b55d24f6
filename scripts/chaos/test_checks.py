"""That the checks of chaos see what they are there for: a record that is right, broken in one place at a time."""

import base64
import copy
import pathlib
import sys
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stack"))

from checks import differences, wrong_with_live  # noqa: E402
from leaks import leaks  # noqa: E402

FPS = 10


def calm():
    """What one camera's file came to."""
    looks = [{"epoch": 1, "frame": frame, "detections": []} for frame in range(0, 40, 2)]
    ledger = {"captured": 40, "detected": 20, "skipped": {"sampling": 20}, "failed": {}, "segments": 4, "closes": True}
    events = [{"id": "e1", "start_s": 0.0, "end_s": 2.0}, {"id": "e2", "start_s": 2.0, "end_s": 4.0}]
    return {"events": events, "detections": {"a": looks}, "ledgers": {"a": ledger}}


def live():
    """Thirty seconds of a camera, five of them in a gap."""
    times = [n / FPS for n in range(300) if not 100 <= n < 150]
    looks = [{"epoch": 1 if time < 10 else 2, "frame": n, "time_s": time} for n, time in enumerate(times)]
    gaps = [{"from_s": 10.0, "until_s": 15.0}]
    ledger = {"captured": 250, "detected": 250, "skipped": {}, "failed": {}, "gaps": gaps, "closes": True}
    return ledger, looks, [{"id": "e1"}, {"id": "e2"}]


class Differences(unittest.TestCase):
    def found(self, broken):
        record = copy.deepcopy(calm())
        broken(record)
        return differences(calm(), record)

    def test_the_same_is_no_difference(self):
        self.assertEqual(self.found(lambda record: None), ([], []))

    def test_a_lost_segment(self):
        def lose(record):
            record["detections"]["a"] = record["detections"]["a"][:15]
            record["ledgers"]["a"].update(captured=30, detected=15, segments=3, skipped={"sampling": 15})

        lost, doubled = self.found(lose)
        self.assertEqual((len(lost), doubled), (2, []), lost)

    def test_a_lost_look_that_the_ledger_does_not_show(self):
        lost, _ = self.found(lambda record: record["detections"]["a"].pop())
        self.assertIn("(1, 38)", lost[0])

    def test_a_look_that_saw_something_else(self):
        lost, _ = self.found(lambda record: record["detections"]["a"][3].update(detections=["car"]))
        self.assertEqual(len(lost), 1)

    def test_a_doubled_look(self):
        _, doubled = self.found(lambda record: record["detections"]["a"].append(record["detections"]["a"][0]))
        self.assertEqual(len(doubled), 1)

    def test_a_segment_counted_twice(self):
        _, doubled = self.found(lambda record: record["ledgers"]["a"].update(captured=50, detected=30, segments=5))
        self.assertEqual(len(doubled), 1)

    def test_events(self):
        lost, _ = self.found(lambda record: record["events"].pop())
        self.assertEqual(lost, ["event e2"])
        lost, _ = self.found(lambda record: record["events"][0].update(end_s=1.0))
        self.assertEqual(lost, ["event e1 as it was: ['end_s'] changed"])
        _, doubled = self.found(lambda record: record["events"].append({"id": "e3"}))
        self.assertEqual(doubled, ["event e3"])
        _, doubled = self.found(lambda record: record["events"].append(record["events"][0]))
        self.assertEqual(len(doubled), 1)

    def test_a_ledger_that_does_not_close(self):
        lost, _ = self.found(lambda record: record["ledgers"]["a"].update(closes=False))
        self.assertIn("does not close", lost[0])


class Live(unittest.TestCase):
    def wrong(self, broken):
        ledger, looks, events = live()
        broken(ledger, looks, events)
        return wrong_with_live(ledger, looks, events, FPS)

    def test_nothing_is_wrong(self):
        self.assertEqual(self.wrong(lambda *_: None), [])

    def test_each_thing_that_may_be_wrong(self):
        def lose(ledger, looks, events):
            del looks[10:60]
            ledger.update(captured=200, detected=200)

        broken = {
            "does not close": lambda ledger, looks, events: ledger.update(closes=False),
            "captured is not": lambda ledger, looks, events: ledger.update(detected=249),
            "frames failed": lambda ledger, looks, events: ledger.update(detected=249, failed={"decode": 1}),
            "a frame stands there twice": lambda ledger, looks, events: looks.insert(5, looks[5]),
            "an event stands there twice": lambda ledger, looks, events: events.append(events[0]),
            "out of order": lambda ledger, looks, events: looks.reverse(),
            "gaps overlap": lambda ledger, looks, events: ledger["gaps"].append({"from_s": 14.0, "until_s": 16.0}),
            "nothing was captured": lambda ledger, looks, events: looks.clear(),
            # A gap that nobody has named.
            "are in no gap": lambda ledger, looks, events: ledger["gaps"].clear(),
            "frames for 20.0 s": lose,
        }
        for what, breaks in broken.items():
            with self.subTest(what):
                self.assertIn(what, "; ".join(self.wrong(breaks)))


class Leaks(unittest.TestCase):
    SECRETS = {"broker": "s3cr-x+abcdefghij/of?this"}

    def found(self, text):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "home").write_text(self.SECRETS["broker"])
            (folder / "log").write_text(f"user:{text}@host")
            return leaks(folder, self.SECRETS, [folder / "home"])

    def test_a_secret_is_found_however_it_is_written(self):
        plain = self.SECRETS["broker"]
        encoded = base64.b64encode(f"user:{plain}".encode()).decode()
        for text in (plain, urllib.parse.quote(plain, safe=""), encoded, "abcdefghij"):
            self.assertEqual(len(self.found(text)), 1, text)
        self.assertEqual(self.found("nothing"), [])

    def test_a_search_that_finds_nothing_at_all_is_no_search(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("misses the secret of broker", leaks(pathlib.Path(folder), self.SECRETS, [])[0])


if __name__ == "__main__":
    unittest.main()
