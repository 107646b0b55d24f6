"""CPU time of programs."""

import resource
import subprocess


def cpu(call, **extra):
    """Runs a command; answers its CPU seconds and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(list(map(str, call)), stdout=subprocess.PIPE, **extra)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, call))} exited with {done.returncode}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ffmpeg(*arguments):
    """The CPU seconds of one call of ffmpeg."""
    return cpu(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments])[0]
