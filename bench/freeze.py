"""Is the probe's freeze better than as many blocks frozen at random? Writes results/freeze.json.

    python bench/freeze.py FOLDER [--rows 600] [--test 1000] [--sets sst2 subjectivity banking77 mrpc] [--seeds 3] [--base minilm]

For each set the probe sees the training rows alone and proposes; then full fine-tuning, the proposal, and five random freezes of its size
learn from these rows with every seed. A set for which the probe decides nothing is reported as that. Every cell is kept in FOLDER, so a
sitting that was cut short goes on. ROOTSTOCK_RESULTS is another folder for results: for trials.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import ranking

import rootstock
from rootstock import catalog
from rootstock.core.recipe import DataSettings
from rootstock.core.watch import Watch
from rootstock.data import schema, source
from rootstock.evaluation.paired import Answered, draw
from rootstock.verbs import freeze

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
ACCEPT = ("duplicates", "overlap", "contradictions", "truncation")


def answered(a, cell, changes, files, seed):
    """What a run under these changes answers on the test rows; kept, so that it runs once."""
    place = a.folder / "cells" / f"{cell}.npz"
    if not place.exists():
        out = a.folder / "runs" / cell
        shutil.rmtree(out, ignore_errors=True)
        method = catalog.find("methods", changes["method.name"])(layers=tuple(changes["method.layers"]))
        run = rootstock.adapt(files[0], base=a.base, method=method, out=out, seed=seed, accept=ACCEPT, training={"epochs": a.epochs})
        found = source.read(str(files[1]), DataSettings(train=str(files[1])))
        columns = {part: run.recipe.task[part] for part in ("text", "text_pair", "label")}
        rows = schema.canonical(found, schema.infer(found.table, **columns)).rows
        judged = run.task.judged({"scores": run.predictions(rows).columns["scores"], "answers": run.task.answers(rows)})
        seconds = run.folder.json("plan.json")["measured"]["seconds"]
        place.parent.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({"task": run.recipe.task, "seconds": seconds})
        with place.with_suffix(".part").open("wb") as stream:
            np.savez(stream, facts=np.frombuffer(facts.encode(), np.uint8), **judged)
        place.with_suffix(".part").replace(place)
        shutil.rmtree(out)
    held = dict(np.load(place, allow_pickle=False))
    facts = json.loads(held.pop("facts").tobytes())
    settings = facts["task"]
    return Answered(held, catalog.find("tasks", settings.pop("name")).build(settings, "task")), facts["seconds"]


def one(a, name):
    """What was proposed for a set, and what it was worth."""
    files = ranking.rows_of(a.folder, name, a.rows, a.test)
    proposal = ranking.kept(
        a.folder / "proposals" / f"{name}.json", lambda: freeze.propose(a.base, str(files[0]), Watch(), changes={}, limit=a.limit)
    )
    if not proposal["decided"]:
        return {"set": name, "proposal": proposal, "arms": {}, "judged": None}
    arms, drawn, seconds = dict(freeze.freeze_arms(proposal, seed=0)), {}, {}
    for arm, changes in arms.items():
        cells = [answered(a, f"{name}-{arm.replace(' ', '')}-{seed}", changes, files, seed) for seed in range(a.seeds)]
        figure = cells[0][0].task.headline[0]
        drawn[arm] = draw([each for each, _ in cells], figure, seed=0)
        seconds[arm] = [spent for _, spent in cells]
        print(name, arm, changes["method.layers"], figure, drawn[arm].whole.round(4).tolist(), flush=True)
    told = {
        arm: {"layers": changes["method.layers"], "figures": drawn[arm].whole.tolist(), "seconds": seconds[arm]}
        for arm, changes in arms.items()
    }
    return {"set": name, "proposal": proposal, "figure": figure, "arms": told, "judged": freeze.judged(drawn)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--sets", nargs="+", default=["sst2", "subjectivity", "banking77", "mrpc"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--limit", type=int, default=100, help="of the probe: 20 rows each")
    parser.add_argument("--epochs", type=float)
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    found = [one(a, name) for name in a.sets]
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"base": a.base, "rows": a.rows, "seeds": a.seeds, "sets": found}
    (RESULTS / "freeze.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for each in found:
        sys.stdout.write(f"{each['set']}: {each['judged']['verdict'] if each['judged'] else each['proposal']['reason']}\n")


if __name__ == "__main__":
    main()
