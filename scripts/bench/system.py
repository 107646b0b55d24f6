"""What whole runs of `detektor run` cost: a busy camera and quiet ones."""

import json
import statistics
import subprocess

from measure import cpu, ffmpeg

FPS = 15


def run(binaries, work, *arguments):
    """One `detektor run`; answers its CPU seconds and its summary."""
    data = work / f"data-{run.count}"
    run.count += 1
    call = [binaries / "detektor", "run", f"--data-dir={data}", "--listen=127.0.0.1:0", "--workers=1", "--until-done"]
    seconds, summary = cpu([*call, "--json", *arguments], stderr=subprocess.DEVNULL)
    return seconds, json.loads(summary)


run.count = 0


def busy(binaries, work, footage, engine, inference_ms, rounds):
    """Every look that sampling asks for, against decoding and as many inferences by themselves.

    What a process needs to start is taken out by running it on a long and on a short piece of the same footage.
    """
    short = work / "short.mp4"
    ffmpeg("-t", 3, "-i", footage, "-c", "copy", "-an", short)
    found = []
    for _ in range(rounds):
        inference = inference_ms(engine)
        spent, looks, decoding = 0, 0, 0
        for piece, sign in ((footage, 1), (short, -1)):
            seconds, summary = run(binaries, work, f"--camera=c={piece}", f"--engine={engine}", "--no-gate")
            spent += sign * seconds
            looks += sign * summary["cameras"]["c"]["detected"]
            decoding += sign * ffmpeg("-threads", 1, "-i", piece, "-map", "0:v:0", "-f", "null", "-")
        # Before and after, so that what else the machine does shows in both.
        inference = (inference + inference_ms(engine)) / 2
        found.append({
            "cpu_s": round(spent, 2), "decode_s": round(decoding, 2), "looks": looks,
            "inference_ms": round(inference, 2), "ratio": round(spent / (decoding + looks * inference / 1000), 3),
        })
    return {"ratio": statistics.median(one["ratio"] for one in found), "rounds": found}


def quiet(binaries, work, footage, engine, inference_ms, rounds):
    """Cameras that see nothing move, in real time: CPU a camera-second, looks apart.

    What the process needs to start, and while nothing comes, is taken out by running it with many and with few.
    """
    still = work / "still.mp4"
    ffmpeg("-ss", 45, "-t", 10, "-i", footage, "-an", "-vf", "scale=640:360", "-r", FPS,
           "-c:v", "libx264", "-g", FPS, "-preset", "veryfast", still)
    found = []
    for _ in range(rounds):
        spent, looks, frames = 0, 0, 0
        for cameras, sign in ((12, 1), (2, -1)):
            config = work / "quiet.toml"
            camera = '[[camera]]\nname = "c{}"\nurl = "{}"\nreal_time = true\nloop = 3\n'
            config.write_text("".join(camera.format(n, still) for n in range(cameras)))
            seconds, summary = run(binaries, work, f"--config={config}", f"--engine={engine}")
            spent += sign * seconds
            for ledger in summary["cameras"].values():
                looks += sign * ledger["detected"]
                frames += sign * ledger["captured"]
        looking = looks * inference_ms(engine) / 1000
        seconds = frames / FPS
        found.append({
            "camera_seconds": seconds, "cpu_ms_per_s": round(1000 * (spent - looking) / seconds, 2),
            "looks": looks, "looking_cpu_ms_per_s": round(1000 * looking / seconds, 2),
        })
    return {"cpu_ms_per_s": statistics.median(one["cpu_ms_per_s"] for one in found), "rounds": found}
