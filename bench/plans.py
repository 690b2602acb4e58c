"""Planned memory and time beside measured ones; writes results/plans.json.

    python bench/plans.py [--rows 400] [--only 0 3]

Twelve combinations of base, method and batch on rows of sst2: what `rootstock plan` says of each (speed measured by its own ten seconds), then
one epoch of it. Measured is the whole process: training, evaluation and saving.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import sets

RESULTS = Path(__file__).parent / "results" / "plans.json"
ROOTSTOCK = [sys.executable, "-m", "rootstock"]
COMBINATIONS = [
    (base, method, micro)
    for base in ("minilm", "scratch:bert-mini", "scratch:bert-small", "scratch:bert-base")
    for method, micro in (("full", 8192), ("lora", 2048), ("feature-extraction", 8192), ("full", 512))
    if not (base.startswith("scratch") and method != "full")
] + [("minilm", "bitfit", 8192), ("minilm", "dora", 8192)]


def ran(arguments):
    done = subprocess.run([*ROOTSTOCK, *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout


def one(base, method, micro, train, folder):
    """What was planned and what was measured of a combination."""
    changes = ["--set", f"training.micro_tokens={micro}"]
    asked = ["plan", train, "--base", base, "--method", method, "--epochs", 1, *changes, "--this-machine", "--json"]
    planned = json.loads(ran(asked))
    out = Path(folder) / "run"
    chosen = ["--base", base, "--method", method, "--epochs", 1, *changes, "--out", out, "--overwrite", "--validation", 0.1]
    ran(["adapt", train, *chosen, *(part for name in ("contradictions", "overlap", "duplicates") for part in ("--accept", name))])
    measured = json.loads((out / "plan.json").read_text())["measured"]
    first = planned["methods"][0]
    return {
        "base": base,
        "method": method,
        "micro_tokens": micro,
        "planned_bytes": first["total_bytes"],
        "parts": first["memory"],
        "measured_bytes": measured["peak_bytes"],
        "planned_seconds": first["seconds"],
        "measured_seconds": measured["seconds"],
        "measured": measured,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--only", type=int, nargs="*")
    a = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        files = dict(zip(("train", "validation", "test"), sets.prepare("sst2", Path(folder)), strict=True))
        kept = Path(folder) / "few.csv"
        kept.write_text("".join(files["train"].read_text(encoding="utf-8").splitlines(keepends=True)[: a.rows + 1]), encoding="utf-8")
        for number, combination in enumerate(COMBINATIONS):
            if a.only and number not in a.only:
                continue
            found.append(one(*combination, kept, folder))
            row = found[-1]
            error = row["planned_bytes"] / row["measured_bytes"] - 1
            late = row["planned_seconds"] / row["measured_seconds"] - 1
            sys.stdout.write(f"{row['base']:<20}{row['method']:<20}{row['micro_tokens']:>6} memory {error:+.0%}  time {late:+.0%}\n")
            sys.stdout.flush()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
