"""The parts that need no cluster, one at a time."""

import json
import math
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import camera_load
import detektor_scaling
import live
import meters
import nodes
import operations
import prerequisites
import scale_plot
import spec
import uneven
from api import Quick
from fakes import World, event, file_record, live_record
from kube import CannotRun, NoAnswer, Pod, Refused
from passes import Reference
from probe import Probe, totals
from script import Limits
from state_analyzer import analyze

HERE = pathlib.Path(__file__).resolve().parent


class Passes(unittest.TestCase):
    def setUp(self):
        self.reference = Reference(file_record("calm", 2), "calm", 2)

    def compare(self, broken, passes=3):
        record = file_record("other", 3, base=5000)
        broken(record)
        return self.reference.compare(record, "other", passes)

    def test_another_camera_s_passes_are_the_same(self):
        self.assertEqual(self.reference.wrong, [])
        self.assertEqual(self.compare(lambda record: None), ([], []))
        # Through a file, too.
        again = Reference.of_json(json.loads(json.dumps(self.reference.as_json())))
        self.assertEqual(again.compare(file_record("x", 2), "x", 2), ([], []))

    def test_what_is_lost_or_doubled_is_seen(self):
        lost = {
            "a look": lambda record: record["detections"].pop(7),
            "an event": lambda record: record["events"].pop(1),
            "an event that changed": lambda record: record["events"][0].update(end_s=9.0),
            "a ledger": lambda record: record["ledger"].update(closes=False),
            "frames": lambda record: record["ledger"].update(failed={"decode": 3}),
            "a segment": lambda record: record["ledger"].update(segments=14),
        }
        for what, breaks in lost.items():
            with self.subTest(what):
                less, more = self.compare(breaks)
                self.assertTrue(less and not more, (less, more))
        doubled = {
            "a look": lambda record: record["detections"].append(record["detections"][-1]),
            "an event": lambda record: record["events"].append(event("other", 5001, id="other.5001.2.60.0")),
            "frames": lambda record: record["ledger"].update(captured=600),
        }
        for what, breaks in doubled.items():
            with self.subTest(what):
                less, more = self.compare(breaks)
                self.assertTrue(more, (less, more))

    def test_a_camera_that_was_stopped_is_compared_but_for_its_last_pass(self):
        def stop(record):
            record["detections"], record["events"] = record["detections"][:-3], record["events"][:-1]

        self.assertEqual(self.compare(stop, None), ([], []))
        self.assertTrue(self.compare(stop, 3)[0])

    def test_passes_that_differ_by_themselves_are_no_reference(self):
        record = file_record("calm", 2)
        record["detections"][0]["objects"] = ["cat"]
        self.assertIn("differ", Reference(record, "calm", 2).wrong[0])


class Live(unittest.TestCase):
    def test_gaps(self):
        record = live_record("a", 1000.0, 1100.0, (1040.0, 1043.5))
        self.assertEqual(live.longest_gap(record["ledger"], 1030, 1100), 3.5)
        self.assertEqual(live.longest_gap(record["ledger"], 1050, 1100), 0.0)
        self.assertEqual(live.wrong({"a": record}), [])
        record = live_record("a", 1000.0, 1100.0, (1040.0, 1050.0))
        record["ledger"]["gaps"] = []
        self.assertEqual(len(live.wrong({"a": record})), 1)

    def test_a_gap_that_lasts(self):
        ledger = {"gaps": [{"from_s": 10.0, "until_s": None, "clock": "unix"}]}
        self.assertEqual(live.longest_gap(ledger, 0, 16.0), 6.0)


class Meters(unittest.TestCase):
    def test_counters_of_pods_that_come_and_go(self):
        counters = meters.Counters()
        counters.look({"a": {"x": 100}})
        counters.look({"a": {"x": 103}, "b": {"x": 4}})
        # The first began anew, the second is gone.
        counters.look({"a": {"x": 1}})
        self.assertEqual(counters.sums, {"x": 3 + 4 + 1})

    def test_samples(self):
        text = '# HELP a b\na{x="1",y="\\"q\\""} 3\nb 2.5e+01\nc_bucket{le="+Inf"} 7\n'
        found = meters.samples(text)
        self.assertEqual(meters.total(found, "a", x="1"), 3)
        self.assertEqual(meters.total(found, "b"), 25)

    def test_the_broker(self):
        world = World()
        broker, world.depth = meters.Broker(world), 12
        self.assertEqual(broker.depth(), {"detect": 12, "merge": 0})
        broker.look()
        world.redelivered = 4
        broker.look()
        # Three members say so.
        self.assertEqual(broker.redelivered(), 12)

    def test_a_broker_elsewhere_is_asked_by_the_binary(self):
        world = World()
        queues = [{"queue": "detect.03", "ready": 5, "unacked": 1}, {"queue": "dead.detect", "ready": 9, "unacked": 0}]
        world.pods_of_service = lambda name: []
        world.command = lambda words, stdin: json.dumps({"queues": queues})
        broker = meters.Broker(world)
        self.assertEqual(broker.depth(), {"detect": 6, "merge": 0})
        self.assertIs(broker.look(), False)
        self.assertIsNone(broker.redelivered())


class Nodes(unittest.TestCase):
    def test_a_node_with_what_there_is_one_of_is_not_broken(self):
        world = World()
        name, held, bad = nodes.choose(world)
        self.assertIn(name, ("node-2", "node-3"))
        self.assertEqual(bad, [])
        self.assertIn("dispatcher", {pod.component for pod in held})
        self.assertIn("holds postgres", nodes.choose(world, "node-1")[2][0])

    def test_who_leads(self):
        pods = [Pod(one) for one in World().all_pods() if one["metadata"]["name"].startswith("rabbitmq")]
        queues = [{"leader": "rabbit@rabbitmq-2.rabbitmq-nodes"}, {"leader": "rabbit@rabbitmq-2"}, {"leader": "rabbit@rabbitmq-0"}]
        self.assertEqual(nodes.leading(pods, queues).name, "rabbitmq-2")

    def test_the_last_that_answers_lives(self):
        pods = [Pod(one) for one in World().all_pods()]
        dice, roles = random.Random(1), ("dispatcher", "events")
        self.assertEqual({nodes.victim(pods, roles, dice).component for _ in range(50)}, set(roles))
        pods = [pod for pod in pods if pod.name != "events-0"]
        self.assertEqual({nodes.victim(pods, roles, dice).component for _ in range(50)}, {"dispatcher"})

    def test_what_is_missing_is_said(self):
        with mock.patch.dict(os.environ, {"DETEKTOR_NODE_CTL": "/nowhere/ctl"}):
            with self.assertRaisesRegex(CannotRun, "DETEKTOR_NODE_CTL"):
                nodes.control()


class Scaling(unittest.TestCase):
    OWN = {"min": 3, "max": 50, "depth_per_pod": 1.4}

    def sample(self, at, wanted, depth, fit):
        return {"at_s": at, "wanted": wanted, "depth": depth, "fit": fit, "replicas": wanted}

    def test_figures(self):
        taken = [
            self.sample(5, 3, 0, 3), self.sample(12, 3, 90, 3), self.sample(20, 50, 320, 6), self.sample(40, 50, 320, 6),
        ]
        worked = {"a": 1.0, "b": 18.0, "c": 31.0}
        found = operations.figures(taken, worked, 10.0, 45.0, self.OWN)
        expected = {
            "from": 3, "wanted": 50, "fit": 6, "deepest_queue": 320, "worth": 50, "scale_up_time_seconds": 21.0, "first_work_s": 8.0,
            "wanted_max_s": 8, "wanted_max_from_step_s": 10.0,
        }
        self.assertEqual(found, expected)

    def test_what_is_late_because_pods_go(self):
        taken = [{"at_s": float(at), "depth": 9 if at < 4 else 0, "replicas": 6 if at < 20 else 3} for at in range(0, 60, 2)]
        in_time, late = {0.1: 10, 0.2: 10, math.inf: 10}, {0.1: 0, 0.2: 10, math.inf: 10}
        merged = [(at, late if at < 6 or 20 <= at <= 32 else in_time) for at in range(0, 60, 2)]
        found = operations.on_the_way_down(taken, merged, over=1.0)
        self.assertEqual(found, {"p99_ms_at_steps_down": 199.0, "p99_ms_elsewhere_down": 99.0, "steps_down": 1})
        nothing = operations.on_the_way_down(taken, [(at, {math.inf: 0}) for at in range(60)], over=1.0)
        self.assertEqual((nothing["p99_ms_at_steps_down"], nothing["p99_ms_elsewhere_down"]), (None, None))

    def test_zero_has_to_be_allowed(self):
        options = operations.arguments(["--from-zero"])
        with self.assertRaisesRegex(CannotRun, "--patch"):
            operations.AtZero(World(), {**self.OWN, "name": "x", "cooldown_s": 300}, options)
        world, options = World(), operations.arguments(["--from-zero", "--patch"])
        with operations.AtZero(world, {**self.OWN, "name": "x", "cooldown_s": 300}, options) as own:
            self.assertEqual(own["min"], 0)
        self.assertIn('"minReplicaCount": 0', world.said[0])
        self.assertIn('"minReplicaCount": 3, "cooldownPeriod": 300', world.said[1])

    def test_the_plot_s_samples(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write('{"at_s": 1, "depth": null}\n{"at_s": 2, "mark": "load"}\n{"at_s": 3, "depth": 4}\n')
            file.flush()
            taken, marks = scale_plot.read(file.name)
        self.assertEqual((scale_plot.series(taken, "depth"), marks[0]["mark"]), (([3], [4]), "load"))


class Small(unittest.TestCase):
    def test_frames(self):
        none = {"captured": 0, "detected": 0, "segments": 0, "failed": 0, "skipped": {}}
        first = {"captured": 300, "detected": 50, "failed": {"decode": 3}, "segments": 10, "skipped": {"quiet": 147, "shed": 100}}
        found = camera_load.rates(none, camera_load.sums([first, first]), 10)
        self.assertEqual(found["processed_fps"], 39.4)
        self.assertEqual(found["skipped_fps"], {"quiet": 29.4, "shed": 20.0})
        self.assertEqual((found["failed_frames_percent"], found["looked_at_fps"]), (1.0, 10.0))

    def test_hotspots(self):
        node = lambda load, count, leaving=False: {"load": load, "camera_count": count, "leaving": leaving}  # noqa: E731
        self.assertEqual(uneven.ratio({"nodes": [node(0.3, 3), node(0.0, 0), node(9.0, 9, True)]}), 2.0)
        self.assertEqual(uneven.ratio({"nodes": [node(0.0, 2), node(0.0, 1)]}), 1.333)
        self.assertEqual(uneven.ratio({"nodes": [node(0.0, 0)]}), 1.0)
        lines = [
            '[pod/b] {"message":"rebalanced","camera":"a","from":"hot, partition 1"}',
            '[pod/b] {"message":"rebalanced","camera":"b","from":"nowhere"}',
            '[pod/b] {"message":"rebalanced","camera":"c","reason":"not wanted any more"}',
            '[pod/b] {"message":"else"}',
        ]
        self.assertEqual([one["camera"] for one in uneven.rebalanced(lines, "hot")], ["a"])

    def test_quantities(self):
        for text, value in (("2", 2000), ("1500m", 1500), ("250000u", 250), ("500000000n", 500)):
            self.assertAlmostEqual(prerequisites.millis(text), value)

    def test_limits(self):
        limits = Limits()
        limits.at_most("a", 1, 1)
        self.assertTrue(limits.held())
        limits.below("b", None, 1)
        self.assertFalse(limits.held())

    def test_state(self):
        found = analyze([{"role": "detect", "uses_external_state": True, "state": []}, {"role": "x", "uses_external_state": False}])
        self.assertEqual((found.stateful_components, len(found.services)), (["x"], 2))
        with self.assertRaises(CannotRun):
            analyze([])

    def test_the_specification_s_names(self):
        report = World().placement()
        found = detektor_scaling.distribution(report)
        self.assertEqual((found.std_deviation, found.nodes[0].camera_count, found.rebalance_needed), (0.0, 0, False))
        printed = 'compiling\n{"partition_efficiency": {"fixed_wait": 0.94, "cpu": 0.9}, "message_ordering_preserved": true}\n'
        with mock.patch.object(detektor_scaling, "recipe", lambda *_: printed):
            found = detektor_scaling.test_partitioned_queues(partitions=10)
        self.assertEqual((found.partition_efficiency, found.efficiencies.cpu), (0.94, 0.9))
        with self.assertRaises(ValueError):
            detektor_scaling.test_partitioned_queues(partitions=9)

    def test_requests_are_asked_again_and_counted(self):
        class Api:
            def __init__(self, *answers):
                self.answers, self.route = list(answers), self

            def ask(self, path, timeout):
                answer = self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer, b""

        probe = Probe(Api(200, NoAnswer("gone"), NoAnswer("gone"), 200, 503, 200), ["/v1/cameras"], 0)
        for _ in range(4):
            probe.request("/v1/cameras")
        told = totals([probe])
        self.assertEqual((told["requests"], told["failed_requests"], told["retried"]), (4, 1, 2))
        self.assertLess(0.05, told["downtime_s"])

    def test_all_outages_count_and_the_longest_is_told(self):
        class Api:
            route = property(lambda self: self)

            def ask(self, path, timeout):
                return next(answers), b""

        answers = iter([503, 200, 503, 503, 200])
        # From 1 on: a clock at 0 would say that no outage has begun.
        clock = iter(range(1, 100))
        with mock.patch("time.monotonic", lambda: next(clock)):
            probe = Probe(Api(), ["/v1/cameras"], 0)
            for _ in range(5):
                probe.request("/v1/cameras")
            told = totals([probe])
        self.assertGreater(told["unanswered_s"], told["downtime_s"])
        self.assertGreater(told["downtime_s"], 0)

    def test_a_connection_has_less_time_than_an_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            given, connect = [], socket.create_connection

            def create_connection(address, timeout, *rest, **more):
                given.append(timeout)
                return connect(address, timeout, *rest, **more)

            with mock.patch("socket.create_connection", create_connection):
                # It looks the function up as it is made.
                connection = Quick("127.0.0.1", server.getsockname()[1], timeout=3)
            connection.connect()
            self.assertEqual((given, connection.sock.gettimeout(), connection.timeout), ([0.3], 3, 3))
            connection.close()

    def test_which_keda(self):
        world = World()
        self.assertEqual(world.describe()["keda"], "2.21.0")
        world.keda_says = "main"
        self.assertEqual(world.describe()["keda"], "2.20.1", "by its tag")
        world.keda_says = None
        self.assertEqual(world.describe()["keda"], "2.20.1", "by its tag")


class Commands(unittest.TestCase):
    """What is said where there is nothing to run on, with a kubectl that is none."""

    def call(self, script, *arguments, kubectl=None, **more):
        with tempfile.TemporaryDirectory() as folder:
            if kubectl:
                program = pathlib.Path(folder) / "kubectl"
                program.write_text(f"#!/bin/sh\n{kubectl}\n")
                program.chmod(0o755)
            path = f"{folder}:{pathlib.Path(sys.executable).parent}:/usr/bin:/bin" if kubectl else folder
            surroundings = {"PATH": path, "HOME": folder, **more}
            call = [sys.executable, str(HERE / f"{script}.py"), *arguments]
            return subprocess.run(call, capture_output=True, text=True, env=surroundings, timeout=60)

    def test_no_cluster(self):
        for script in ("prerequisites", "failures", "operations", "camera_load", "stateless", "continuous", "uneven"):
            done = self.call(script)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("KUBECONFIG", json.loads(done.stdout)["error"])

    def test_no_kubectl(self):
        done = self.call("prerequisites", KUBECONFIG=__file__)
        self.assertEqual(done.returncode, 2)
        self.assertIn("kubectl is not on the PATH", json.loads(done.stdout)["error"])

    def test_a_kubectl_that_reaches_nothing(self):
        done = self.call("prerequisites", kubectl="echo 'error: stat /nowhere: no such file' >&2; exit 1", KUBECONFIG=__file__)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such file", json.loads(done.stdout)["error"])

    def test_help(self):
        for script in sorted(HERE.glob("*.sh")):
            done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, "usage" in done.stdout), (0, True), script)


class Pods(unittest.TestCase):
    def test_a_command_goes_to_another_pod_where_one_is_gone(self):
        world = World()
        calls = []

        def kubectl(*words, **_):
            calls.append(words)
            if len(calls) == 1:
                raise Refused("error: unable to upgrade connection: pod not found")
            return "said"

        world.kubectl = kubectl
        self.assertEqual(world.detektor("cameras", "list"), "said")
        self.assertEqual(len({word for call in calls for word in call if word.startswith("balancer-")}), 2)

    def test_a_command_that_fails_is_not_tried_again(self):
        world = World()
        world.kubectl = mock.Mock(side_effect=Refused("no camera x\ncommand terminated with exit code 1"))
        with self.assertRaisesRegex(Refused, "no camera x"):
            world.detektor("cameras", "remove", "x")
        self.assertEqual(world.kubectl.call_count, 1)


class Documented(unittest.TestCase):
    def test_each_line_of_the_specification_has_its_place(self):
        page = (HERE.parents[1] / "docs/specification.md").read_text(encoding="utf-8")
        for line in spec.LINES:
            self.assertIn(f"`{line.name}`", page)


if __name__ == "__main__":
    unittest.main()
