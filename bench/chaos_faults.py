"""Faults that lie inside a training: a step that finds no memory, a loss that is no number, a worker that hangs."""

import json
import math
import os
import random
import re
import shutil
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from chaos_stages import clean, ended, finish, kill, outcome, start

_TRAINED = ("pretrain", "adapt")
_WORKERS = ["--workers", 2]
_DROPS = re.compile(r"training\.dropout=.*")


def memory(made, a):
    """From a random pass on there is memory for half as many rows: the weights are those of a run with enough, but for their last bits.

    Without dropout, which draws other masks where there are more passes, and in fp32: sums of bf16 differ in their third digit.
    """
    told = {}
    for name in (each for each in _TRAINED if each in made):
        line = [_DROPS.sub("training.dropout=0.0", word) if isinstance(word, str) else word for word in made[name][0].line]
        assert line != made[name][0].line
        line += ["--set", "training.precision=fp32"]
        enough = _empty(a.folder / "short" / f"{name}-enough")
        code, _, err = ended(start([*line, "--out", enough], a.folder))
        assert code == 0, err
        told[name] = [_short(line, enough, random.Random(f"{a.seed}-{name}-{number}"), a) for number in range(a.times)]
        shutil.rmtree(enough)
    return told


def _short(line, enough, rng, a):
    out, at = _empty(enough.with_name(f"{enough.name}-not")), rng.randint(2, 12)
    code, _, err = ended(start([*line, "--out", out], a.folder, before=partial(_scarce, at)))
    found = {"pass": at, "code": code, "message": clean(err) if code else True}
    if code:
        return found | {"outcome": "failed", "said": err.strip().splitlines()[-3:]}
    found["parts"] = [event["parts"] for event in _events(out) if event["event"] == "memory"]
    found["apart"] = _apart(out, enough)
    shutil.rmtree(out)
    found["outcome"] = "equal" if found["apart"] <= 1e-4 and found["parts"] else f"weights {found['apart']:.2g} apart"
    print("memory", found, flush=True)
    return found


def _scarce(at):
    """No memory from pass number `at` on for more than half of the rows that it has; a pass of one row fits."""
    from rootstock.loop import train

    real, seen = train.Training._learned_from, []

    def tight(self, model, batch):
        rows = len(next(iter(batch.values())))
        seen.append(rows)
        loss = real(self, model, batch)
        if len(seen) > at and rows > max(1, seen[at - 1] // 2):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return loss

    train.Training._learned_from = tight


def nan(made, a):
    """A loss that is no number: at one update of full rate, so that the run goes on at a lower one; and always, so that it stops and says so."""
    told = {}
    for name in (each for each in _TRAINED if each in made):
        stage, each = made[name][0], []
        for number in range(a.times):
            rng, always = random.Random(f"{a.seed}-{name}-{number}"), number % 2 == 1
            at, out = rng.randint(2, 6), _empty(a.folder / "nan" / f"{name}-{number}")
            fault = partial(_broken, at, always)
            code, _, err = ended(start([*stage.line, "--out", out], a.folder, before=fault))
            found = {"step": at, "always": always, "code": code, "message": clean(err) if code else True}
            if always:
                found["outcome"] = "message" if code == 1 and clean(err) and "of the rate too" in err else "failed"
            else:
                found |= {"outcome": "failed"} if code else _lowered(stage, out, a.folder, fault)
            each.append(found | {"said": err.strip().splitlines()[-3:]})
            print("nan", name, each[-1], flush=True)
            shutil.rmtree(out, ignore_errors=True)
        told[name] = each
    return told | {name: [_arm(name, made[name], number, a) for number in range(a.times)] for name in _ARMS if name in made}


def _arm(name, made, number, a):
    """One arm of several learns nothing: compare and search tell that it failed and rank the others; a benchmark stops, and goes on later."""
    (stage, _, wanted), at = made, random.Random(f"{a.seed}-{name}-{number}").randint(1, 5)
    out, before = _empty(a.folder / "nan" / f"{name}-{number}"), a.folder / "straight" / name
    code, _, err = ended(start([*stage.line, "--out", out], a.folder, before=partial(_one_arm, at, *_ARMS[name])))
    found = {"step": at, "broken": _ARMS[name], "code": code, "message": clean(err) if code else True}
    if name == "benchmark":
        stopped = code == 1 and clean(err) and "of the rate too" in err
        code, _, err = finish(stage, out, a.folder) if stopped else (code, "", err)
        fine = stopped and code == 0 and outcome(stage, out) == wanted
    else:
        fine = code == 0
        if fine:
            (held, states), (wanted, _) = _arms(name, out), _arms(name, before)
            fine = held == wanted and set(states) <= {"failed", "fail"}
    found |= {"outcome": "equal" if fine else "failed", "said": err.strip().splitlines()[-3:]}
    print("nan", name, found, flush=True)
    shutil.rmtree(out, ignore_errors=True)
    return found


_ARMS = {"compare": ["method", "lora"], "search": ["rate", 3e-3], "benchmark": ["seed", 1]}
"""By stage, which of its arms is broken."""


def _one_arm(at, what, value):
    """The loss is no number, from an update on, at any rate, in the trainings that this is true of."""
    from rootstock.loop import train

    real = train.Training._passed

    def told(training):
        job = training.job
        return {"method": type(job.method).__module__.rpartition(".")[2], "rate": job.settings.rate, "seed": job.feed.seed}[what]

    def passed(self, rows):
        made = real(self, rows)
        return made._replace(loss=float("nan")) if self.at.step + 1 >= at and told(self) == value else made

    train.Training._passed = passed


def _arms(name, out):
    """Figures of the arms that are not to break, and how those ended that are."""
    found = json.loads((out / f"{name}.json").read_text())
    if name == "search":
        broken = [each for each in found["trials"] if each["values"]["training.rate"] == _ARMS[name][1]]
        held = {each["trial"]: each for each in found["trials"] if each not in broken}
    else:
        arms = [each for point in found["points"] for each in point["arms"]]
        broken = [each for each in arms if _ARMS[name][1] in each["arm"]]
        held = {each["arm"]: each["test"]["each"] for each in arms if each not in broken}
    assert broken, "no arm was to break"
    return held, [each["state"] for each in broken]


def _lowered(stage, out, folder, fault):
    """The run that went on at a lower rate, beside one with the same fault that is killed after it went back: equal weights, all finite."""
    other = _empty(out.with_name(f"{out.name}-killed"))
    process = start([*stage.line, "--out", other], folder, before=fault)
    while process.poll() is None and '"setback"' not in _text(other / "history.jsonl"):
        time.sleep(0.002)
    killed = process.poll() is None
    if killed:
        kill(process)
    code, _, err = finish(stage, other, folder, fault) if killed else ended(process)
    lowered = json.loads(_text(out / "metrics.json")).get("rate_lowered", 0)
    one, two = outcome(stage, out), outcome(stage, other)
    differ = sorted(file for file in {*one, *two} if one.get(file) != two.get(file))
    fine = code == 0 and lowered == 1 and not differ and math.isfinite(_apart(out, other))
    became = "equal" if fine else f"other files: {', '.join(differ)}" if code == 0 else f"did not go on: {err.strip()[-200:]}"
    shutil.rmtree(other, ignore_errors=True)
    return {"lowered": lowered, "killed_after_it": killed, "outcome": became}


def _text(path):
    return path.read_text("utf-8") if path.exists() else ""


def _broken(at, always):
    """The loss of update `at` is no number as long as the rate is the full one; always: of every update from there on, at any rate."""
    from rootstock.loop import train

    real = train.Training._passed

    def passed(self, rows):
        made, step = real(self, rows), self.at.step + 1
        return made._replace(loss=float("nan")) if (step >= at if always else step == at and not self.at.lowered) else made

    train.Training._passed = passed


def hang(made, a):
    """One of two workers stands still after a random update: the others notice, all start again, and end as if nothing had been.

    Only while they train: before, the others wait for each other half an hour, or for the first without a limit.
    """
    if "adapt" not in made:
        return {}
    os.environ["ROOTSTOCK_PATIENCE_MINUTES"] = "0.2"
    stage, _, _ = made["adapt"]
    line = [*stage.line, *_WORKERS]
    straight = _empty(a.folder / "hung" / "straight")
    code, _, err = ended(start([*line, "--out", straight], a.folder))
    assert code == 0, err
    wanted, each = outcome(stage, straight), []
    for number in range(a.times):
        rng, out = random.Random(f"{a.seed}-{number}"), _empty(a.folder / "hung" / f"{number}")
        process = start([*line, "--out", out], a.folder)
        after = rng.randint(1, 8)
        while process.poll() is None and _text(out / "history.jsonl").count('"event": "step"') < after:
            time.sleep(0.002)
        held = process.poll() is None and _stopped(process.pid)
        code, _, err = ended(process)
        found = {"after_update": after, "held": held, "code": code, "message": clean(err) if code else True}
        found["restarted"] = "restart " in err
        became = "equal" if code == 0 and outcome(stage, out) == wanted else "failed"
        each.append(found | {"outcome": became if held else "not hit", "said": err.splitlines()[-3:]})
        print("hang", each[-1], flush=True)
        shutil.rmtree(out, ignore_errors=True)
    return {"adapt": each}


def _stopped(parent):
    """Stop a worker of this process for good; whether there was one."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words, told = (path / "cmdline").read_bytes().split(b"\0"), (path / "environ").read_bytes()
            if b"worker" in words and b"\0RANK=1\0" in told and int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                os.kill(int(path.name), signal.SIGSTOP)
                return True
    return False


def _events(out):
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def _apart(one, other):
    """The largest difference between weights of two runs."""
    from safetensors.torch import load_file

    (first,), (second,) = (list((each / "model").glob("*model.safetensors")) for each in (one, other))
    held, wanted = load_file(first), load_file(second)
    assert held.keys() == wanted.keys()
    return max(float((held[name] - wanted[name]).abs().max()) for name in held)


def _empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
