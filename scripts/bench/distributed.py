#!/usr/bin/env python3
"""What it costs to be many processes: overhead against one process, latency by stage, cost per camera.

Starts RabbitMQ, Postgres and MinIO and the roles on this machine, measures, and prints one JSON object; a table of the goals
goes to standard error. CPU time is that of our processes; the servers' stands beside it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "stack"))

import histogram  # noqa: E402
from measure import cpu, ffmpeg  # noqa: E402
from procs import connections, cpu_s, rss_bytes  # noqa: E402
from roles import Stack  # noqa: E402
from servers import Servers  # noqa: E402

# From a segment's end until its events can be read.
WHOLE = ("detektor_merge_closed_to_merged_seconds", ())
STAGES = ("to_detect", "detect", "look", "to_merge", "merge", "handling")


class World:
    """A stack on its servers, and the cameras that it is given one after the other."""

    def __init__(self, options, work, counts, flags):
        self.options, self.work, self.run = options, work, 0
        self.servers = Servers(work / "servers")
        self.servers.start(options.detektor, options.partitions)
        self.stack = Stack(options.detektor, self.servers, work, counts, flags=flags)
        self.stack.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            failed = self.stack.stop()
        finally:
            self.servers.stop()
        if failed:
            raise SystemExit(f"not ended well: {failed}")

    def cameras(self, footage, **how):
        """Wants a camera on each of these files, and no others; answers their names, which nobody had before."""
        self.run += 1
        named = {f"r{self.run}-{number:04}": str(file) for number, file in enumerate(footage)}
        self.stack.apply([{"name": name, "url": file, **how} for name, file in named.items()], self.work)
        return list(named)

    def rest(self, file):
        """Wants no camera that goes on; waits until all queues are empty."""
        self.stack.apply([{"name": "rest", "url": str(file), "loop": 1}], self.work)
        quiet = 0
        while quiet < 8:
            time.sleep(0.5)
            quiet = quiet + 1 if self.stack.is_quiet() else 0

    def seen(self, names):
        """What the API says of these cameras."""
        wanted = set(names)
        return [camera for camera in self.stack.api.cameras() if camera["id"] in wanted]

    def until_done(self, names, captured, patience_s=1800):
        """Until so many frames of their files are accounted for; answers the CPU seconds of roles and servers then."""
        begun = time.monotonic()
        while True:
            time.sleep(0.5)
            used = self.used()
            cameras = self.seen(names)
            closed = all(camera["state"] == "ended" and camera["closes"] for camera in cameras)
            if closed and sum(camera["captured"] for camera in cameras) == captured:
                return used
            if time.monotonic() - begun > patience_s:
                raise SystemExit(f"not done after {patience_s} s: {json.dumps(cameras)[:2000]}")

    def used(self):
        """CPU seconds by role and server."""
        found = {}
        for role in self.stack.roles:
            found[role.role] = found.get(role.role, 0) + cpu_s(role.child.pid)
        for server in self.servers.all:
            found[server.name] = cpu_s(server.child.pid)
        return found

    def ours(self, used):
        return sum(seconds for name, seconds in used.items() if name in Stack.ORDER)

    def histograms(self):
        return histogram.scrape([role.port for role in self.stack.of("merge")])


def since(before, after):
    return {name: after[name] - before[name] for name in after}


def rounded(table, digits=2):
    return {name: round(value, digits) for name, value in table.items()}


def overhead(options, work, goal):
    """CPU seconds a segment: a stack against one process, the same work, turn by turn.

    What starting costs, a process or a camera, is taken out: both play long footage and short, and the difference counts.
    """
    pieces = {}
    for name, seconds in (("long", options.seconds), ("short", 4)):
        pieces[name] = work / f"{name}.mp4"
        ffmpeg("-ss", 10, "-i", options.footage, "-t", seconds, "-c", "copy", "-an", pieces[name])
    flags = {"detect": [f"--engine={options.engine}", "--workers=1"]}
    counts = {"balancer": 1, "dispatcher": 1, "detect": 2, "merge": 1, "events": 1}
    rounds = []

    def spread(world, piece, captured):
        before = world.used()
        names = world.cameras([piece] * options.cameras, loop=1)
        used = since(before, world.until_done(names, captured))
        return used, sum(ledger["segments"] for ledger in world.stack.api.ledgers(names).values())

    def alone(piece):
        config = work / "one.toml"
        camera = '[[camera]]\nname = "c{}"\nurl = "{}"\nloop = 1\n'
        config.write_text("".join(camera.format(n, piece) for n in range(options.cameras)))
        overhead.runs += 1
        call = [options.detektor, "run", f"--config={config}", f"--data-dir={work / f'one-{overhead.runs}'}"]
        call += ["--listen=127.0.0.1:0", "--workers=2", f"--engine={options.engine}", "--until-done", "--json"]
        seconds, summary = cpu(call, stderr=subprocess.DEVNULL)
        return seconds, sum(ledger["captured"] for ledger in json.loads(summary)["cameras"].values())

    with World(options, work, counts, flags) as world:
        for number in range(options.rounds):
            one, most = alone(pieces["long"])
            little, few = alone(pieces["short"])
            far, far_segments = spread(world, pieces["long"], most)
            near, near_segments = spread(world, pieces["short"], few)
            segments = far_segments - near_segments
            used = {name: 1000 * (far[name] - near[name]) / segments for name in far}
            whole, alone_ms = world.ours(used), 1000 * (one - little) / segments
            rounds.append({
                "segments": segments, "stack_ms": round(whole, 2), "one_process_ms": round(alone_ms, 2),
                "overhead": round(whole / alone_ms - 1, 4), "by_part_ms": rounded(used),
            })
            print(f"   round {number}: {json.dumps(rounds[-1])}", file=sys.stderr)
    result = statistics.median(row["overhead"] for row in rounds)
    goal("overhead of being distributed (we aim for 0.03)", result, "<=", 0.1)
    return {"overhead": result, "engine": options.engine, "cameras": options.cameras, "rounds": rounds}


overhead.runs = 0


def spread_footage(options, work, count, seconds, *encoder, every=1):
    """So many files whose segments end at different times, key frames `every` so many seconds at different phases, and which
    are over at different times: cameras do not begin anew all at once."""
    files = []
    for number in range(count):
        file = work / f"phase-{number}.mp4"
        phase = every * (number + 0.5) / count
        last = f"floor((prev_forced_t+{every}-{phase})/{every}+0.001)*{every}"
        keys = f"expr:if(isnan(prev_forced_t),1,gte(t,{last}+{phase}))"
        ffmpeg(
            "-ss", 10, "-i", options.footage, "-t", seconds + number % 16 + phase, "-an", *encoder, "-c:v", "libx264",
            "-preset", "veryfast", "-force_key_frames", keys, "-g", 1000, "-sc_threshold", 0, "-bf", 0, file,
        )
        files.append(file)
    return files


def capacity(world, files, detect, cameras, **how):
    """Segments a second when there is more to do than can be done."""
    world.cameras([files[number % len(files)] for number in range(cameras)], loop="forever", detect=detect, **how)
    time.sleep(10)
    before, begun = world.histograms(), time.monotonic()
    time.sleep(20)
    merged = histogram.between(before, world.histograms())[WHOLE]
    rate = merged[float("inf")] / (time.monotonic() - begun)
    world.rest(files[0])
    return rate


def watched(options, world, files, greedy, kind, detect, goal):
    """One stack's latency by share of what it can do; `greedy` cameras are more than it can carry."""
    most = capacity(world, files, detect, **greedy)
    rows = {"capacity_segments_per_s": round(most, 1)}
    for share in (0.25, 0.5, 0.75):
        count = max(1, round(most * share))
        footage = [files[number % len(files)] for number in range(count)]
        world.cameras(footage, loop="forever", real_time=True, detect=detect)
        time.sleep(15 + count / 20)
        before, used = world.histograms(), world.used()
        begun = time.monotonic()
        time.sleep(options.watch)
        found = histogram.between(before, world.histograms())
        busy = sum(since(used, world.used()).values()) / (time.monotonic() - begun)
        stages = {
            stage: histogram.summary(found["detektor_merge_stage_seconds", (("stage", stage),)], 0.05)
            for stage in STAGES
        }
        whole = histogram.summary(found[WHOLE], 0.2)
        captured = histogram.summary(found["detektor_merge_captured_to_merged_seconds", ()], 0.2)
        row = {"cameras": count, "cores_busy": round(busy, 2), "whole": whole, "from_last_frame": captured, **stages}
        rows[f"{share:.0%}"] = row
        print(f"   {kind}, {share:.0%}: {json.dumps(row)}", file=sys.stderr)
        world.rest(files[0])
        if share == 0.5:
            goal(f"{kind}: p99 without decode and inference at 50 %, ms", stages["handling"].get("p99_ms"), "<=", 50)
            goal(f"{kind}: p99 at 50 %, ms", whole.get("p99_ms"), "<=", 200)
    return rows


def latency(options, work, goal):
    """From a segment closed to its events readable, by stage, at a quarter, a half and three quarters of what it can do."""
    result = {}
    blank = ["--engine=ort", f"--model={HERE / 'blank.toml'}"]
    # What looks, the cameras' settings, phases, cameras that are too many, how the footage is encoded. What is too much has to be
    # worked off afterwards.
    kinds = {
        "bundled model": (["--engine=ort"], {"fps": 5}, 16, {"cameras": 16, "real_time": True}, []),
        "blank model, small pictures": (blank, {"fps": 1, "gate": False}, 64, {"cameras": 128}, ["-vf", "scale=160:120", "-r", 5]),
    }
    for kind, (engine, detect, phases, greedy, encoder) in kinds.items():
        if options.kind and options.kind not in kind:
            continue
        here = work / kind.replace(" ", "-").replace(",", "")
        here.mkdir()
        here.chmod(0o711)
        files = spread_footage(options, here, phases, 12, *encoder)
        counts = {"balancer": 1, "dispatcher": 1, "detect": 2, "merge": 1, "events": 1}
        ahead = [] if options.ahead is None else [f"--ahead={options.ahead}"]
        with World(options, here, counts, {"detect": [*engine, "--workers=1", *ahead]}) as world:
            result[kind] = watched(options, world, files, greedy, kind, detect, goal)
    return result


def minio_requests(world):
    port, found = world.servers.minio.port, {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/minio/v2/metrics/cluster", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("minio_s3_requests_total{"):
                labels = dict(histogram.LABEL.findall(line))
                found[labels["api"]] = found.get(labels["api"], 0) + float(line.rpartition(" ")[2])
    return found


def transactions(world):
    postgres = world.servers.postgres
    sql = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{postgres.DATABASE}'"
    return int(postgres.psql("postgres", sql))


def cost(options, work, goal):
    """CPU a camera-second at ten, a hundred and a thousand cameras in real time, with still pictures that cost next to
    nothing; memory, connections and requests beside it."""
    # As many as the fewest cameras: each number of them plays the same mix.
    small = spread_footage(options, work, 10, 24, "-vf", "scale=160:120,loop=-1:1,setpts=N/2/TB", "-r", 2, every=4)
    flags = {"detect": ["--engine=ort", f"--model={HERE / 'blank.toml'}", "--workers=1"]}
    counts = {"balancer": 1, "dispatcher": options.dispatchers, "detect": 2, "merge": 2, "events": 1}
    with World(options, work, counts, flags) as world:
        result = costs(options, world, small)
    each = [row["ms_per_camera_s_without_idle"] for count, row in result.items() if count]
    goal(f"cost per camera, largest over the first ({options.counts})", max(each) / each[0], "<=", 1.05)
    return result


def costs(options, world, small):
    """What the stack uses at each number of cameras, none first."""
    servers = world.servers
    ports = {
        "rabbitmq": servers.rabbitmq.port, "rabbitmq_management": servers.rabbitmq.management,
        "postgres": servers.postgres.port, "s3": servers.minio.port,
    }
    result = {}
    for count in (0, *options.counts):
        footage = [small[number % len(small)] for number in range(count)]
        names = world.cameras(footage, loop="forever", real_time=True, detect={"fps": 1}) if count else []
        begun = time.monotonic()
        while sum(camera["captured"] > 0 for camera in world.seen(names)) < count:
            if time.monotonic() - begun > 300:
                raise SystemExit(f"not all of {count} cameras run")
            time.sleep(1)
        # The first rush is over.
        time.sleep(20)
        before, requests, commits = world.used(), minio_requests(world), transactions(world)
        segments = world.histograms()
        begun = time.monotonic()
        time.sleep(options.watch)
        took = time.monotonic() - begun
        used = since(before, world.used())
        found = histogram.between(segments, world.histograms())
        whole = histogram.summary(found[WHOLE], 0.2)
        asked = {name: value - requests.get(name, 0) for name, value in minio_requests(world).items()}
        row = {
            "cores": rounded({name: seconds / took for name, seconds in used.items()}, 4),
            "ours_cores": round(world.ours(used) / took, 4),
            "segments_per_s": round(whole["count"] / took, 2),
            "latency": whole,
            "s3_requests_per_s": rounded({name: value / took for name, value in asked.items() if value > 0}),
            "postgres_transactions_per_s": round((transactions(world) - commits) / took, 1),
            "rss_mib": {role.name: round(rss_bytes(role.child.pid) / 2**20, 1) for role in world.stack.roles},
            "connections": {role.name: connections(role.child.pid, ports) for role in world.stack.roles},
        }
        if count:
            idle = result[0]["ours_cores"]
            row["ms_per_camera_s"] = round(1000 * row["ours_cores"] / count, 3)
            row["ms_per_camera_s_without_idle"] = round(1000 * (row["ours_cores"] - idle) / count, 3)
        result[count] = row
        print(f"   {count} cameras: {json.dumps(row)}", file=sys.stderr)
    return result


PARTS = {"overhead": overhead, "latency": latency, "cost": cost}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detektor", type=pathlib.Path, help="the binary, of the release profile")
    parser.add_argument("--footage", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--engine", default="ort", choices=("ort", "tract"))
    parser.add_argument("--cameras", type=int, default=20, help="of the overhead's runs")
    parser.add_argument("--seconds", type=int, default=20, help="how long the overhead's footage is")
    parser.add_argument("--rounds", type=int, default=5, help="of the overhead's comparison")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000], help="cameras whose cost is compared")
    parser.add_argument("--dispatchers", type=int, default=1, help="of the cost's stack")
    parser.add_argument("--partitions", type=int, default=10)
    parser.add_argument("--watch", type=int, default=60, help="seconds that latency and cost are watched")
    parser.add_argument("--ahead", type=int, help="detect.ahead, where latency is watched")
    parser.add_argument("--kind", help="only the latency whose name has this in it")
    options = parser.parse_args()
    options.footage = options.footage.absolute()
    if "ORT_DYLIB_PATH" not in os.environ:
        raise SystemExit('set ORT_DYLIB_PATH="$(scripts/fetch-onnxruntime)"')

    goals, result = [], {}

    def goal(what, found, sign, limit):
        met = found is not None and found <= limit
        goals.append({"what": what, "found": found, "goal": f"{sign} {limit}", "met": met})
        print(f"{'   ' if met else '!! '}{what}: {found} (goal {sign} {limit})", file=sys.stderr)

    for name in options.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="detektor-bench-") as work:
            os.chmod(work, 0o711)
            result[name] = PARTS[name](options, pathlib.Path(work), goal)
    print(json.dumps({**result, "goals": goals}))
    return 0 if all(goal["met"] for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
