"""Quality on the real sets: every method, several seeds, measured on test rows that neither training nor the choice of the best state saw.

python bench/accuracy.py --out results/accuracy.jsonl [--sets sst2 mrpc] [--methods full lora] [--seeds 1 2 3] [--workers 1]
                         [--grid training.rate=5e-5,1e-4 training.dropout=0,0.1]

Cells that --out holds already are not measured again, so the table can grow over several sittings.
"""

import argparse
import itertools
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import sets


def settings_of(grid):
    """All combinations of key=value,value … as lists of pairs."""
    axes = [[(key, value) for value in values.split(",")] for key, _, values in (axis.partition("=") for axis in grid)]
    return [list(chosen) for chosen in itertools.product(*axes)]


def work(job):
    """One run: returns its row of the table."""
    import torch

    import rootstock as rs
    from rootstock.verbs import api

    name, method, seed, changes, folder, threads = job
    torch.set_num_threads(threads)
    paths = {part: Path(folder) / f"{name}-{part}.csv" for part in ("train", "validation", "test")}
    values = {"base": "minilm", "data": {"train": str(paths["train"]), "validation": str(paths["validation"])}}
    values |= {"method": {"name": method}, "seed": seed}
    values |= {"accept": ["contradictions", "overlap", "duplicates", "truncation"]}
    recipe = rs.Recipe.build(api.changed(values, {key: json.loads(value) for key, value in changes}), "")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        from rootstock.core.watch import Watch

        run = api.carry_out(recipe, Path(out) / "run", Watch())
        seconds = time.perf_counter() - started
        test = run.evaluate(str(paths["test"]))
        plan = json.loads((run.path / "plan.json").read_text())
        held = run.metrics
    figures = {"validation": held["metrics"], "test": test["metrics"], "intervals": test["intervals"], "baselines": held["baselines"]}
    spent = {"seconds": round(seconds, 1), "rows_per_second": plan["measured"].get("rows_per_second")}
    return {"set": name, "method": method, "seed": seed, "changes": dict(changes), **figures, **spent}


def held(path):
    """The cells that a file of results has."""
    rows = map(json.loads, path.read_text("utf-8").splitlines())
    return {(row["set"], row["method"], row["seed"], json.dumps(row["changes"])) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(sets.NAMES))
    parser.add_argument("--methods", nargs="+", default=["full", "lora", "feature-extraction"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--grid", nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, a.out.open("a", encoding="utf-8") as out:
        for name in a.sets:
            sets.prepare(name, folder)
        cells = itertools.product(a.seeds, a.sets, a.methods, settings_of(a.grid))
        done = held(a.out)
        jobs = [
            (name, method, seed, changes, folder, a.threads)
            for seed, name, method, changes in cells
            if (name, method, seed, json.dumps(dict(changes))) not in done
        ]
        with multiprocessing.get_context("spawn").Pool(a.workers) as pool:
            for row in pool.imap_unordered(work, jobs):
                out.write(json.dumps(row) + "\n")
                out.flush()
                headline = sets.HEADLINE.get(row["set"], "accuracy")
                print(
                    row["set"],
                    row["method"],
                    row["seed"],
                    row["changes"],
                    "test",
                    round(row["test"][headline], 4),
                    row["seconds"],
                    "s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
