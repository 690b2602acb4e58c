"""The live line on a terminal, and what takes its place elsewhere."""

import io

from rootstock.cli import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen_of(monkeypatch):
    """A terminal in stderr's place, and a clock that goes on ten seconds each time it is asked."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    clock = iter(range(10, 1000, 10))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    return stream


def step(number, progress, **more):
    return {"event": "step", "step": number, "progress": progress, "loss": 0.5, "rate": 2e-4, "rows": 32, "seconds": 0.25} | more


def test_a_terminal_shows_how_far_how_well_how_fast_and_how_long_still(monkeypatch):
    screen = screen_of(monkeypatch)
    shown = console.Console()
    shown.event(step(10, 0.25))
    shown.event(step(20, 0.50, loss=0.25))
    first, second = screen.getvalue().split("\r\x1b[2K")[1:]
    assert first.startswith("train      25%  step 10  loss 0.5000  rate 2.00e-04  128 rows/s")
    assert second == "train      50%  step 20  loss 0.2500  rate 2.00e-04  128 rows/s  40 s left"  # 0.25 took 20 s by this clock
    shown.event({"event": "evaluation", "step": 20, "epoch": 1.0, "accuracy": 0.75, "log_loss": 0.5, "best_step": 20})
    assert screen.getvalue().endswith("\r\x1b[2Kevaluate  step 20  epoch 1.00  accuracy 0.7500  log_loss 0.5000  (best)\n")


def test_an_update_in_which_nothing_was_asked_is_not_shown(monkeypatch):
    screen = screen_of(monkeypatch)
    console.Console().event(step(1, 0.1, loss=None))
    assert screen.getvalue() == ""


def test_elsewhere_there_are_only_lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    shown = console.Console()
    shown.event(step(10, 0.25))
    shown.say("a note")
    assert stream.getvalue() == "a note\n"
