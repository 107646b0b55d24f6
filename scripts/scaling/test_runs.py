"""Whole tests on a cluster that is none: what they ask for, what they find, and that they leave nothing behind."""

import contextlib
import io
import json
import os
import pathlib
import tempfile
import time
import unittest
from unittest import mock

import camera_load
import continuous
import failures
import nodes
import operations
import prerequisites
import script
import stateless
import uneven
from fakes import World, fast_clock
from kube import NotInTime

RECORD = World.record


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.reference = pathlib.Path(self.folder.name) / "reference.json"
        control = pathlib.Path(self.folder.name) / "ctl"
        control.write_text(f'#!/bin/sh\necho "$@" >> {self.folder.name}/broken\n')
        control.chmod(0o755)
        self.enterContext(mock.patch.dict(os.environ, {"DETEKTOR_NODE_CTL": str(control)}))
        self.enterContext(mock.patch("script.say", lambda *_: None))
        self.enterContext(fast_clock())
        self.world = World()

    def run_test(self, module, *flags):
        """Its exit code, and its JSON object."""
        said, noise = io.StringIO(), io.StringIO()
        with mock.patch.object(script, "Cluster", lambda: self.world), mock.patch.object(script, "end_properly"):
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(noise):
                code = script.run(module.measure, module.arguments(list(flags)))
        self.noise = noise.getvalue()
        return code, json.loads(said.getvalue())

    def assert_held(self, code, found):
        self.assertEqual(code, 0, [limit for limit in found.get("limits", [found]) if not limit.get("held")])
        # All that was wanted is gone again.
        self.assertEqual(self.world.cameras, {})

    def test_prerequisites(self):
        code, found = self.run_test(prerequisites)
        self.assert_held(code, found)
        self.assertEqual((found["nodes_ready"], found["cpu_percent"]["node-1"]), (3, 25.0))
        self.world.ready["node-3"] = False
        self.assertEqual(self.run_test(prerequisites)[0], 1)

    def test_what_does_not_come_to_be_is_missed(self):
        def measure(_cluster, _options, _limits):
            nodes.until("all pods ready", lambda: False, 1)

        world = mock.Mock(measure=measure, arguments=lambda _: None)
        code, found = self.run_test(world)
        self.assertEqual((code, found["held"]), (1, False))
        self.assertIn("all pods ready: not after 1 s", found["error"])

    def test_stateless(self):
        log = pathlib.Path(self.folder.name) / "test_results.log"
        flags = ["--duration=30", "--every=2", "--pause=0.01", f"--log={log}", f"--reference={self.reference}"]
        code, found = self.run_test(stateless, "--kill-random-pods", *flags)
        self.assert_held(code, found)
        self.assertIn("failed: 0\n", log.read_text())
        self.assertGreater(found["requests"], 0)
        self.assertTrue(any("delete pod -n detektor" in said for said in self.world.said))
        self.assertTrue(any(said.startswith("killed id-of-") for said in self.world.said))

    def test_stateless_says_that_nothing_is_known_yet(self):
        log = pathlib.Path(self.folder.name) / "test_results.log"
        log.write_text("failed: 0\n")
        with mock.patch.object(World, "deployment", mock.Mock(side_effect=NotInTime("x"))):
            code, _ = self.run_test(stateless, "--duration=5", "--kill-random-pods", "--every=1", f"--log={log}")
        self.assertEqual((code, log.read_text()), (1, "failed: not known yet\n"))

    def test_stateless_sees_a_lost_event(self):
        def lossy(world, name):
            record = RECORD(world, name)
            if "-file-" in name:
                record["events"].pop()
            return record

        with mock.patch.object(World, "record", lossy):
            code, found = self.run_test(stateless, "--duration=5", f"--log={self.folder.name}/log")
        self.assertEqual((code, found["lost"]), (1, 3))

    def test_uneven(self):
        begun = {}

        def placed(names):
            begun.setdefault(len(names), time.monotonic())
            late = time.monotonic() - begun[len(names)] > 10
            return {
                name: f"dispatcher-{number % 2 if late or len(names) == 8 else 0}" for number, name in enumerate(names)
            }

        self.world.placed = placed
        code, found = self.run_test(uneven, "--uneven", "--duration=40", "--measured=1")
        self.assert_held(code, found)
        self.assertEqual((found["rebalanced"], found["hotspot_ratio_before"], found["hotspot_ratio"]), (1, 2.0, 1.0))

    def test_cameras(self):
        flags = ["--cameras=4", "--minutes=0.5", "--warm=1", "--fps-each=-1", "--failed=1"]
        with mock.patch.object(camera_load, "rates", wraps=self.rates):
            code, found = self.run_test(camera_load, *flags)
        self.assert_held(code, found)
        self.assertEqual((found["p99_latency_ms"], found["cameras"]), (99.0, 4))

    def rates(self, before, after, seconds):
        # Files of the fake have all their frames at once.
        return {"processed_fps": 1.0, "failed_frames_percent": 0.0}

    def test_continuous(self):
        code, found = self.run_test(continuous, "--duration=20", "--pause=0.01", f"--reference={self.reference}")
        self.assert_held(code, found)
        self.assertGreater(found["waves"], 0)
        self.assertEqual(found["gap_s"], 0.0)

    def test_continuous_ends_at_a_gap(self):
        def with_gap(world, name):
            now = time.time()
            if "-live-" in name and now > world.cameras[name]["born"] + 20:
                world.gaps.setdefault(name, (now - 7, now - 1))
            return RECORD(world, name)

        with mock.patch.object(World, "record", with_gap):
            code, found = self.run_test(continuous, "--duration=500", "--pause=0.01")
        self.assertEqual(code, 1, found)
        self.assertIn("gap of 6.0 s", found["breach"])

    def test_continuous_breaks_nodes(self):
        code, found = self.run_test(continuous, "--disturb", "--rest=1", "--pause=0.01")
        self.assert_held(code, found)
        self.assertEqual(len(found["disturbed"]), 3)

    def test_operations(self):
        samples = pathlib.Path(self.folder.name) / "scale.jsonl"
        code, found = self.run_test(operations, "--every=0.01", "--pause=0.01", "--calm=2", f"--samples={samples}")
        self.assert_held(code, found)
        self.assertEqual((found["from"], found["wanted"], found["fit"], found["to"], found["pending"]), (3, 50, 6, 3, 44))
        self.assertTrue(found["scale_down_graceful"])
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        self.assertTrue(any(row.get("depth") == 320 for row in rows) and any("mark" in row for row in rows))

    def test_operations_see_redeliveries(self):
        kubectl = World.kubectl

        def again(world, *words, **more):
            if "remove" in words:
                world.redelivered += 1
            return kubectl(world, *words, **more)

        with mock.patch.object(World, "kubectl", again):
            code, found = self.run_test(operations, "--every=0.01", "--pause=0.01", "--calm=2")
        self.assertEqual((code, found["scale_down_graceful"]), (1, False))

    def test_failures(self):
        control = failures.nodes.node_control

        def breaks(what, node):
            control(what, node)
            self.world.ready[node] = what in ("start", "heal")

        with mock.patch.object(failures.nodes, "node_control", breaks):
            code, found = self.run_test(failures, f"--reference={self.reference}")
        self.assert_held(code, found)
        self.assertEqual([one["fault"] for one in found["faults"]], list(failures.FAULTS))
        self.assertEqual((found["lost"], found["doubled"], found["ledger_closes"], found["gap_s"]), (0, 0, True, 2.0))
        broken = pathlib.Path(self.folder.name, "broken").read_text().split("\n")[:4]
        self.assertEqual([line.split()[0] for line in broken], ["kill", "start", "cut", "heal"])
        self.assertIn("killed id-of-rabbitmq-1", self.world.said)
        self.assertTrue(any("killed id-of-dispatcher-" in said for said in self.world.said))
        self.assertTrue(any("delete pod -n detektor postgres-0" in said for said in self.world.said))

    def test_a_dispatcher_that_says_goodbye_was_not_killed(self):
        with mock.patch.object(World, "killed", lambda *_: None):
            code, found = self.run_test(failures, "--only=dispatcher-kill")
        self.assertEqual((code, found["gap_s"], found["lost"]), (1, 0.0, 0))

    def test_failures_say_what_did_not_go_through(self):
        code, found = self.run_test(failures, "--only=postgres", "--only=dispatcher-kill", "--live=0", "--patience=1")
        self.assert_held(code, found)
        self.world.alone.pop("minio")
        code, found = self.run_test(failures, "--only=minio", "--live=0")
        self.assertEqual(code, 1)
        self.assertIn("Service minio", found["faults"][0]["error"])
        self.assertEqual(self.world.cameras, {})


if __name__ == "__main__":
    unittest.main()
