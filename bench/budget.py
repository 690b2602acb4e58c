"""Does `--minutes` end when it says, with the rate at its end? The whole command, as a shell sees it; writes results/budget.json.

    python bench/budget.py [--minutes 5] [--methods full lora gradual-unfreezing feature-extraction] [--busy] [--rows 6920]

Rows of sst2 and more epochs than any budget can hold. --busy: beside as many processes that compute without end as there are cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sets

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "budget.json"
METHODS = ("full", "lora", "gradual-unfreezing", "feature-extraction")
WITHIN, ENDED = 0.03, 0.02
"""Share of the budget that the end may be off; and of the peak rate that the last update may have."""


def one(method, asked, train, folder):
    """A command from its start to its exit, and what it left."""
    out = Path(folder) / method
    accepted = [word for name in ("contradictions", "overlap", "duplicates") for word in ("--accept", name)]
    chosen = [
        "--method",
        method,
        "--base",
        asked.base,
        "--minutes",
        asked.minutes,
        "--set",
        "training.epochs=10000",
        "--out",
        out,
        *accepted,
    ]
    command = [sys.executable, "-m", "rootstock", "adapt", train, *chosen]
    started = time.monotonic()
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    wall = time.monotonic() - started
    kind = {"method": method, "minutes": asked.minutes, "busy": asked.busy, "seconds": round(wall, 2)}
    if done.returncode:  # such as features that do not fit into the budget
        return kind | {"reached": False, "refused": done.stderr.strip().splitlines()[-3:]}
    steps = [event for event in map(json.loads, (out / "history.jsonl").read_text().splitlines()) if event["event"] == "step"]
    budget, last = asked.minutes * 60, steps[-1]["rate"] / max(event["rate"] for event in steps)
    off = wall / budget - 1
    told = kind | {"off": round(off, 4), "last_rate_of_peak": round(last, 4), "steps": len(steps)}
    return told | {
        "reached": abs(off) <= WITHIN and last <= ENDED,
        "learned_until": json.loads((out / "plan.json").read_text())["measured"]["seconds"],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rows", type=int, default=6920)
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    same = ("method", "minutes", "busy")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    spin = "while True: pass"
    beside = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range((os.cpu_count() or 1) if asked.busy else 0)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            train, *_ = sets.prepare("sst2", Path(folder))
            if asked.rows < 6920:
                lines = Path(train).read_text("utf-8").splitlines(keepends=True)
                Path(train).write_text("".join(lines[: asked.rows + 1]), "utf-8")
            for method in asked.methods:
                found = one(method, asked, train, folder)
                print(json.dumps(found), flush=True)
                kept = [each for each in kept if any(each[key] != found[key] for key in same)] + [found]
                RESULTS.parent.mkdir(parents=True, exist_ok=True)
                RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    finally:
        for each in beside:
            each.kill()


if __name__ == "__main__":
    main()
