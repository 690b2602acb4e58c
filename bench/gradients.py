"""What the search by gradients adds on the zoo's dev members: phrases that no single word shows, beside clean members.

python bench/gradients.py ZOO [--only m055 m013 …] [--restarts 3] [--steps 80]    # adds a line a member to results/gradients.jsonl

The stage belongs to the deep budget; here it follows a standard scan, so that the two scores stand side by side. Sealed members are refused.
"""

# ruff: noqa: E402  (the path comes first)
import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "src")]
import zoo_plan
import zoo_scan

from rootstock.core.watch import Watch
from rootstock.sentinel import BackdoorScanner
from rootstock.sentinel.backdoor.budget import BUDGETS

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
KINDS = ("sentence", "syntactic", "clean")


def scanned(zoo, spec, a):
    budget = dataclasses.replace(BUDGETS["standard"], restarts=a.restarts, steps=a.steps)
    started = time.process_time()
    data = zoo / "data" / f"{spec['training']['set']}.csv"
    found = BackdoorScanner(budget).scan(
        model=zoo / "runs" / spec["id"], test_inputs=data, watch=Watch(say=lambda text: print(text, flush=True))
    )
    hunted = [each for each in found.indicators if each.stage == "gradient search"]
    planted = zoo_scan.words_of(spec) if spec["side"] == "poisoned" else []
    return {
        **{key: spec[key] for key in ("id", "side", "kind", "intensity")},
        "planted": planted,
        "score": found.score,
        "phrase_score": found.phrase_score,
        "gradient_score": round(found.gradient_score or 0.0, 4),
        "triggers": [[each.trigger, each.label, each.rate, each.reference_rate] for each in hunted],
        "gradient_seconds": found.seconds.get("gradient search"),
        "cpu_seconds": round(time.process_time() - started, 1),
        "restarts": a.restarts,
        "steps": a.steps,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    a = parser.parse_args()
    dev = {spec["id"]: spec for spec in zoo_plan.members() if spec["part"] == "dev"}
    if strangers := sorted(set(a.only) - set(dev)):
        parser.error(f"{', '.join(strangers)}: no dev members")
    chosen = a.only or [name for name, spec in dev.items() if spec["kind"] in KINDS and (a.zoo / "runs" / name).is_dir()]
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        row = scanned(a.zoo, dev[name], a)
        with (RESULTS / "gradients.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
