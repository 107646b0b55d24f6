"""What is broken when: a schedule drawn from a seed, and who carries it out."""

import json
import signal
import threading
import time

# How likely a round breaks a process of a role, a server or a wire.
KINDS = {"role": 5, "server": 2, "wire": 3}
# How long something stays broken, in seconds.
KILLED_S, PAUSED_S, WIRE_S = (0.1, 4.0), (0.1, 8.0), (0.1, 6.0)
SLOW_S = 0.1
LOOK_EVERY_S = 0.05


class Fault:
    """One round: from `at` to `until`, in seconds, `target` is killed, paused, cut, stalled, lost or slowed."""

    def __init__(self, at, until, target, how):
        self.at, self.until, self.target, self.how = at, until, target, how

    def __str__(self):
        return f"{self.at:.1f} s to {self.until:.1f} s: {self.target} {self.how}"


def schedule(dice, targets, rounds, pause):
    """Draws so many rounds, `pause` seconds apart on average; nothing is broken twice at a time. `targets`: names by kind."""
    faults, at = [], 0.0
    while len(faults) < rounds:
        at += dice.uniform(0.5, 1.5) * pause
        kinds = {
            kind: free
            for kind, names in targets.items()
            if (free := [name for name in names if all(f.until < at for f in faults if f.target == name)])
        }
        if not kinds:
            continue
        kind = dice.choices(list(kinds), [KINDS[kind] for kind in kinds])[0]
        target = dice.choice(kinds[kind])
        if kind == "wire":
            how, lasts = dice.choice(["cut", "stalled", "lost", "slowed"]), WIRE_S
        else:
            how, lasts = ("killed", KILLED_S) if dice.random() < 0.7 else ("paused", PAUSED_S)
        faults.append(Fault(at, at + dice.uniform(*lasts), target, how))
    return faults


class Chaos(threading.Thread):
    """Breaks a cluster's parts by a schedule, mends each in its time, and writes down when."""

    def __init__(self, cluster, faults):
        super().__init__(daemon=True)
        self.cluster, self.waiting, self.broken = cluster, list(faults), []
        self.total, self.kills, self.ended = len(faults), {}, 0
        self.parts = parts(cluster)
        self.told, self.error = threading.Event(), None
        self.begun = time.monotonic()
        self.diary = open(cluster.dir / "diary", "a", buffering=1, encoding="utf-8")

    @property
    def rounds(self):
        """Rounds that have begun."""
        return self.total - len(self.waiting)

    def over(self):
        if self.error:
            raise self.error
        return not self.waiting and not self.broken

    def run(self):
        self.begun = time.monotonic()
        try:
            while not self.told.wait(LOOK_EVERY_S):
                self.look()
        except Exception as error:
            self.error = error

    def stop(self):
        """Breaks nothing more, and mends nothing."""
        self.told.set()
        if self.is_alive():
            self.join(60)
        self.diary.close()

    def note(self, what, **more):
        at = time.monotonic() - self.begun
        self.diary.write(json.dumps({"at_s": round(at, 1), "what": what, **more}) + "\n")

    def look(self):
        now = time.monotonic() - self.begun
        for fault in [fault for fault in self.broken if fault.until <= now]:
            self.broken.remove(fault)
            self.mend(fault)
            self.note(f"{fault.target} mended")
        while self.waiting and self.waiting[0].at <= now:
            fault = self.waiting.pop(0)
            self.broken.append(fault)
            self.note(f"{fault.target} {fault.how}", until_s=round(fault.until, 1))
            self.inflict(fault)
        # Nobody restarts what ended by itself but we.
        killed = [fault.target for fault in self.broken if fault.how == "killed"]
        for role in self.cluster.stack.roles:
            if role.name not in killed and not role.alive():
                self.ended += 1
                self.note(f"{role.name} ended by itself", status=role.child.returncode)
                role.spawn()

    def inflict(self, fault):
        part = self.parts[fault.target]
        self.count(fault)
        if fault.how == "killed":
            part.kill()
        elif fault.how == "paused":
            part.signal(signal.SIGSTOP)
        else:
            self.cluster.wires.set(part, SLOW_S if fault.how == "slowed" else fault.how)

    def mend(self, fault):
        part = self.parts[fault.target]
        if fault.how == "killed":
            part.spawn()
        elif fault.how == "paused":
            part.resume()
        else:
            self.cluster.wires.set(part, "whole")

    def count(self, fault):
        """By role, server, or what a wire leads to."""
        part = self.parts[fault.target]
        name = getattr(part, "role", fault.target.split(" - ")[-1])
        whose = f"wire to {name}" if " - " in fault.target else name
        by = self.kills.setdefault(whose, {})
        by[fault.how] = by.get(fault.how, 0) + 1


def parts(cluster):
    """Everything that can be broken, by name."""
    return {part.name: part for part in [*cluster.stack.roles, *cluster.servers.all, *cluster.wires.all]}


def targets(cluster):
    """Their names, by kind."""
    kinds = {"role": cluster.stack.roles, "server": cluster.servers.all, "wire": cluster.wires.all}
    return {kind: [part.name for part in parts] for kind, parts in kinds.items()}
