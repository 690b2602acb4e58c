"""Planned memory and time beside measured ones; writes results/plans.json, a cell as soon as it is done, and goes on where it stopped.

    python bench/plans.py [--rows 600] [--only 0 3] [--again]

Three bases × (full in two sizes of an update, lora, feature-extraction), one epoch of rows of sst2: what `rootstock plan --this-machine` says
(it measures by a short run of its own), then the run. Measured is the whole process, from the start of its libraries to its last file:
training, evaluation and saving included. bert-mini and bert-small have random weights, saved as bases are: lora and feature-extraction refuse
weights that are random by name, and neither memory nor time depends on values. Each process has a cache and a ledger of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import sets

from rootstock.bases import blank
from rootstock.bases.load import tokenizer
from rootstock.bases.resolve import resolve
from rootstock.bases.save import save_model

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "plans.json"
BASES = ("minilm", "bert-mini", "bert-small")
WAYS = (("full", 1024, 8192), ("full", 4096, 4096), ("lora", 1024, 8192), ("feature-extraction", 1024, 8192))
"""Method, tokens of an update, tokens at once."""
COMBINATIONS = [(base, *way) for base in BASES for way in WAYS]
ACCEPTED = [part for name in ("contradictions", "overlap", "duplicates", "truncation") for part in ("--accept", name)]


def place_of(base, folder):
    """What to call a base: a folder of random weights, but for one that comes with the tool."""
    if base == "minilm":
        return base
    place = folder / base
    if not place.exists():
        save_model(blank.blank(f"scratch:{base}", None, device="cpu").model, tokenizer(resolve("minilm")), place)
    return str(place)


def ran(folder, *arguments):
    kept = Path(tempfile.mkdtemp(dir=folder))
    own = {"ROOTSTOCK_CACHE": str(kept), "ROOTSTOCK_LEDGER": str(kept / "ledger.jsonl")}
    command = [sys.executable, "-m", "rootstock", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    if done.returncode:
        raise SystemExit(done.stderr)
    ledger = kept / "ledger.jsonl"
    return done.stdout, json.loads(ledger.read_text().splitlines()[-1]) if ledger.exists() else None


def one(combination, train, folder):
    """What was planned and what was measured of a combination."""
    name, method, batch, micro = combination
    base = place_of(name, folder)
    same = ["--base", base, "--method", method, "--epochs", 1]
    same += ["--set", f"training.batch_tokens={batch}", "--set", f"training.micro_tokens={micro}"]
    first = json.loads(ran(folder, "plan", train, *same, "--this-machine", "--json")[0])["methods"][0]
    _, line = ran(folder, "adapt", train, *same, "--out", folder / "run", "--overwrite", "--validation", 0.1, *ACCEPTED)
    measured = line["measured"]
    seconds = measured["seconds"] + measured["ending"]
    return {
        "base": name,
        "method": method,
        "batch_tokens": batch,
        "micro_tokens": micro,
        "planned": {"bytes": first["total_bytes"], "parts": first["memory"], "seconds": first["seconds"], "times": first["times"]},
        "measured": {**measured, "seconds": seconds},
        "run_forecast": line["planned"],
        "error": {"memory": first["total_bytes"] / measured["bytes"] - 1, "time": first["seconds"] / seconds - 1},
        "device": line["device"],
        "versions": line["versions"],
    }


def key(row):
    return row["base"], row["method"], row["batch_tokens"], row["micro_tokens"], row["rows"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--only", type=int, nargs="*", help="Numbers of combinations.")
    parser.add_argument("--again", action="store_true", help="Forget what was measured before.")
    a = parser.parse_args()
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() and not a.again else []
    found = {key(row): row for row in before if "rows" in row}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        files = dict(zip(("train", "validation", "test"), sets.prepare("sst2", folder), strict=True))
        few = folder / "few.csv"
        few.write_text("".join(files["train"].read_text(encoding="utf-8").splitlines(keepends=True)[: a.rows + 1]), encoding="utf-8")
        for number, combination in enumerate(COMBINATIONS):
            if a.only is not None and number not in a.only:
                continue
            if (*combination, a.rows) not in found:
                row = {**one(combination, few, folder), "rows": a.rows}
                found[key(row)] = row
                RESULTS.write_text(json.dumps(list(found.values()), indent=1) + "\n", encoding="utf-8")
            row = found[(*combination, a.rows)]
            told = f"{row['base']:<12}{row['method']:<20}{row['batch_tokens']:>6}"
            sys.stdout.write(f"{told} memory {row['error']['memory']:+.0%}  time {row['error']['time']:+.0%}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
