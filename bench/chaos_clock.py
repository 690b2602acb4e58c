"""A wall clock that is set while a command runs, by days or years; the monotonic clock goes on, as the system's does.

It is set inside Python: time.time and all that is made of it, in the command and in every Python process that it starts, and what modules
that ask datetime are told.
"""

import datetime
import json
import random
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from importlib import import_module

from chaos_stages import clean, ended, finish, outcome, start

KINDS = ("forwards", "back", "there and back", "at each look")
_DAYS = 400.0
_MINUTES = 0.5
_ASKED = 40


def clock(made, a):
    """Each stage with a clock that is set at a random moment; a training that has minutes; one by two workers; a server that is asked."""
    told = {name: [_stage(name, each, number, a) for number in range(a.times)] for name, each in made.items()}
    if "adapt" in made:
        stage, seconds, _ = made["adapt"]
        straight = _timed(stage, a.folder / "clock" / "minutes", a.folder)
        told["minutes"] = [_minutes(stage, straight, number, a) for number in range(min(a.times, 3))]
        told["workers"] = [_workers(stage, seconds, number, a) for number in range(min(a.times, 3))]
        told["serve"] = [_served(number, a) for number in range(min(a.times, 3))]
    return told


def fault(kind, first, second):
    """The clock of a command that begins now. first, second: seconds after which it is set."""
    if kind == KINDS[3]:
        return partial(at_each_look, 7)
    sets = {"forwards": [[first, _DAYS]], "back": [[first, -_DAYS]], "there and back": [[first, _DAYS], [second, -2 * _DAYS]]}[kind]
    return partial(at_moments, time.monotonic(), sets)


def at_moments(began, sets):
    """sets: pairs of seconds after `began`, on the monotonic clock, and the days by which the clock is set then."""
    monotonic = time.monotonic
    _shifted(lambda: sum(86_400 * days for after, days in sets if monotonic() - began >= after))


def at_each_look(seed):
    """Years off, another way each time that it is read."""
    rng = random.Random(seed)
    _shifted(lambda: rng.choice([-1, 1]) * rng.uniform(0, 3e8))


class Moment(datetime.datetime):
    """By the clock that is set."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)


_ASK = ("torch.distributed.elastic.rendezvous.dynamic_rendezvous", "rootstock.run.paired")
"""Modules that ask datetime what time it is. The class itself stays: compiled modules know it by its size."""


def _shifted(off):
    real = {name: getattr(time, name) for name in ("time", "gmtime", "localtime", "strftime", "ctime")}
    time.time = lambda: real["time"]() + off()
    time.time_ns = lambda: int(time.time() * 1e9)
    for name in ("gmtime", "localtime", "ctime"):
        setattr(time, name, lambda seconds=None, *, name=name: real[name](time.time() if seconds is None else seconds))
    time.strftime = lambda form, moment=None: real["strftime"](form, time.localtime() if moment is None else moment)
    for name in _ASK if "torch" in sys.modules else ():  # not where a process has just begun: only who starts others asks
        import_module(name).datetime = Moment


def _drawn(name, number, seconds, a):
    rng = random.Random(f"{a.seed}-{name}-{number}")
    first, second = sorted(round(rng.uniform(0.1, 1.0) * seconds, 2) for _ in range(2))
    return KINDS[number % len(KINDS)], first, second


def _stage(name, made, number, a):
    stage, seconds, wanted = made
    kind, first, second = _drawn(name, number, seconds, a)
    out = _empty(a.folder / "clock" / f"{name}-{number}")
    code, _, err = finish(stage, out, a.folder, fault(kind, first, second))
    found = {"set": kind, "seconds": [first, second], "code": code, "message": clean(err) if code else True}
    found["outcome"] = _same(outcome(stage, out), wanted) if code == 0 else f"did not end: {err.strip().splitlines()[-1:]}"
    return _noted("clock " + name, found, out)


def _minutes(stage, straight, number, a):
    """The budget is of the time that goes by, whatever the clock says: a run takes as long as one that nobody disturbed."""
    kind, first, second = _drawn("minutes", number, 60 * _MINUTES, a)
    out = a.folder / "clock" / f"minutes-{number}"
    found = {"set": kind, "seconds": [first, second]} | _timed(stage, out, a.folder, fault(kind, first, second))
    alike = 0.5 < found["took_seconds"] / straight["took_seconds"] < 2 if found["code"] == 0 else False
    found |= {"straight": straight, "outcome": "equal" if alike and found["updates"] else "another budget"}
    return _noted("clock minutes", found, out)


def _timed(stage, out, folder, before=None):
    """A run of so many minutes, which has more to learn than they hold."""
    line, began = [*stage.line, "--set", "training.epochs=2000", "--minutes", _MINUTES, "--out", _empty(out)], time.monotonic()
    code, _, err = ended(start(line, folder, before))
    found = {"took_seconds": round(time.monotonic() - began, 2), "code": code, "message": clean(err) if code else True}
    return found | ({"updates": json.loads((out / "plan.json").read_text())["measured"]["steps"]} if code == 0 else {})


def _workers(stage, seconds, number, a):
    """Two workers, whose agent looks at the wall clock by itself."""
    line = [*stage.line, "--workers", 2]
    straight = a.folder / "clock" / "two-workers"
    if not straight.exists():
        straight.parent.mkdir(parents=True, exist_ok=True)
        code, _, err = ended(start([*line, "--out", straight], a.folder))
        assert code == 0, err
    kind, first, second = _drawn("workers", number, 2 * seconds + 15, a)
    out = _empty(a.folder / "clock" / f"workers-{number}")
    code, _, err = ended(start([*line, "--out", out], a.folder, fault(kind, first, second)))
    found = {"set": kind, "seconds": [first, second], "code": code, "message": clean(err) if code else True}
    found["outcome"] = _same(outcome(stage, out), outcome(stage, straight)) if code == 0 else f"did not end: {err.strip()[-300:]}"
    return _noted("clock workers", found, out)


def _served(number, a):
    """A server is asked before, while and after its clock is set; its answers stay the same, and its end is a clean one."""
    kind, first, second = _drawn("serve", number, 2.0, a)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = ["serve", a.folder / "straight" / "adapt", "--port", port, "--rate", 6000]
    process = start(line, a.folder, fault(kind, first + 6, second + 6))
    text, answers, until = "the cast was lovely", [], time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None and len(answers) < _ASKED:
        try:
            answers.append(_asked(port, text))
        except urllib.error.HTTPError as error:
            answers.append(error.code)
        except OSError:
            pass  # not there yet
        time.sleep(0.25)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    told = {"set": kind, "seconds": [first, second], "asked": len(answers), "code": code, "message": "Traceback" not in err}
    fine = len(answers) == _ASKED and all(each == answers[0] and isinstance(each, list) for each in answers) and code == 0
    told["outcome"] = "equal" if fine else f"answers {answers[:3]} … {answers[-1:]}, exit code {code}"
    print("clock serve", told, flush=True)
    return told


def _asked(port, text):
    asked = json.dumps({"inputs": [text]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models/adapt:predict", asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"]


def _same(found, wanted):
    differ = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    return f"other files: {', '.join(differ)}" if differ else "equal"


def _noted(what, found, out):
    print(what, found, flush=True)
    shutil.rmtree(out, ignore_errors=True)
    return found


def _empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
