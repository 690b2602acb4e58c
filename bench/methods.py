"""`compare` with halving beside the same without: 4 methods × 3 seeds on sst2, the time of both and who wins; writes results/methods.json.

    python bench/methods.py FOLDER [--rows 6920] [--seeds 3] [--methods feature-extraction lora full scratch] [--base minilm]

One comparison after the other, each in a process and with a cache of its own, so that neither finds what the other has computed. The figure of
merit is the time of the halved one as a share of the other's, settling included, and whether both name the same winner. The test rows' figures
stand beside. ROOTSTOCK_RESULTS is another folder for results: for trials.
"""

import argparse
import csv
import json
import os
import platform
from pathlib import Path

import beside
import sets

WAYS = {"halving": "--halving", "all": "--no-halving"}


def train_file(folder, rows):
    """The first rows of sst2's training part, as CSV."""
    (train, _, _), header = sets.sst2()
    path = folder / f"sst2-{rows}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *train[:rows]])
    return path


def compared(way, data, folder, a):
    """One comparison from its beginning: what it says, and what it took."""
    out, environment = folder / way, os.environ | {"ROOTSTOCK_CACHE": str(folder / f"cache-{way}")}
    line = ["compare", data, "--methods", ",".join(a.methods), "--bases", a.base, "--seeds", a.seeds, "--out", out, "--overwrite", "--json"]
    changes = [word for change in a.set for word in ("--set", change)]
    told, spent = beside.process([*beside.ROOTSTOCK, *line, WAYS[way], *changes, *beside.ACCEPT], env=environment)
    return json.loads(told), spent


def summary(found, spent):
    """What is kept of a comparison."""
    point = found["points"][0]
    arms = {
        each["arm"]: {
            "seeds": each["seeds"],
            "state": each["state"],
            "validation": (each["validation"] or {}).get("value"),
            "test": (each["test"] or {}).get("value"),
            "interval": (each["test"] or {}).get("interval"),
            "seconds": each["seconds"],
            "peak_mb": each["peak_bytes"] and each["peak_bytes"] // 2**20,
            "why": each["why"],
        }
        for each in point["arms"]
    }
    return {"seconds": spent["wall_s"], "winner": point["winner"], "figure": found["figure"], "arms": arms}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=6920)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["feature-extraction", "lora", "full", "scratch"])
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--set", nargs="+", default=[], help="keys of the recipe, for trials")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    data = train_file(a.folder, a.rows)
    held = {"set": "sst2", "rows": a.rows, "seeds": a.seeds, "base": a.base, "changes": a.set, "machine": platform.processor()}
    for way in WAYS:
        held[way] = summary(*compared(way, data, a.folder, a))
        print(json.dumps({way: held[way]}), flush=True)
    held["ratio"] = round(held["halving"]["seconds"] / held["all"]["seconds"], 3)
    held["same_winner"] = held["halving"]["winner"] == held["all"]["winner"]
    held["load"] = round(os.getloadavg()[0], 1)
    beside.RESULTS.mkdir(parents=True, exist_ok=True)
    (beside.RESULTS / "methods.json").write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(f"ratio {held['ratio']}, same winner: {held['same_winner']}")


if __name__ == "__main__":
    main()
