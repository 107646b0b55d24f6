"""What whole runs of `detektor run` cost: a busy camera and quiet ones."""

import json
import statistics
import subprocess

from measure import cpu, ffmpeg


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
            decoding += sign * ffmpeg("-v", "fatal", "-threads", 1, "-i", piece, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-")
        # Before and after, so that what else the machine does shows in both.
        inference = (inference + inference_ms(engine)) / 2
        found.append({
            "cpu_s": round(spent, 2), "decode_s": round(decoding, 2), "looks": looks,
            "inference_ms": round(inference, 2), "ratio": round(spent / (decoding + looks * inference / 1000), 3),
        })
    return {"ratio": statistics.median(one["ratio"] for one in found), "rounds": found}


def quiet_footage(work, footage):
    """Ten seconds in which nothing comes, by name, with the frame rate.

    As the camera encoded them: packet sizes say that nothing moves, and nothing is decoded. And at 640x360 as x264
    encodes them, which spends more bits on leaves in the wind: pictures have to be decoded and compared. There the
    clock is cut off, whose digits move.
    """
    camera, encoded = work / "camera.mp4", work / "x264.mp4"
    piece = ["-ss", 48, "-i", footage, "-t", 10, "-an"]
    ffmpeg(*piece, "-c", "copy", camera)
    ffmpeg(*piece, "-vf", "crop=640:360:0:120", "-r", 15, "-c:v", "libx264", "-g", 15, "-preset", "veryfast", encoded)
    return {"as its camera encodes": (camera, 30), "640x360 by x264": (encoded, 15)}


def quiet(binaries, work, still, fps, engine, inference_ms, rounds):
    """Cameras that see nothing move, in real time: CPU a camera-second, looks apart.

    What the process needs to start, and while nothing comes, is taken out by running it with many and with few.
    """
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
        seconds = frames / fps
        found.append({
            "camera_seconds": seconds, "cpu_ms_per_s": round(1000 * (spent - looking) / seconds, 2),
            "looks": looks, "looking_cpu_ms_per_s": round(1000 * looking / seconds, 2),
        })
    return {"cpu_ms_per_s": statistics.median(one["cpu_ms_per_s"] for one in found), "rounds": found}
