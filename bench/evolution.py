"""From word2vec to T5 at equal compute: five objectives on one corpus, each adapted to two sets; writes results/evolution.json.

    python bench/evolution.py FOLDER [--flops 1e13] [--rows 500] [--seeds 3] [--size tiny] [--epochs 10]

The corpus is half the texts of each set, without labels; those that share a passage with the other halves are taken out. `rootstock compare`
does the rest: CBOW, ELMo, GPT, BERT and T5 get the same FLOPs and the same tokenizer, and each is adapted to rows of the other halves beside
its own architecture with random weights. A fifth of these halves is measured on and seen by nothing else. ELMo's published small model costs
28 times as much a token as BERT tiny, so one of the others' size stands in for it. Everything is kept in FOLDER, so a sitting that was cut
short goes on. ROOTSTOCK_RESULTS is another folder for results: for trials.
"""

import argparse
import csv
import json
import os
import random
import sys
from pathlib import Path

import sets
from transfer import ACCEPT, HERE, SETS, call

ELMO = {
    "model_type": "rootstock-elmo", "cells": 256, "hidden_size": 128, "num_hidden_layers": 2, "letter_size": 16, "highways": 1,
    "filters": [[1, 16], [2, 16], [3, 32], [4, 64], [5, 64]], "max_letters": 20,
}  # fmt: skip
RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))


def written(path, rows):
    """Rows as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def prepared(folder, most):
    """The corpus, and the labelled half of each set; made once."""
    labelled = []
    for name in SETS:
        parts, header = getattr(sets, name)()
        unlabelled, known = sets.hold_out([row for part in parts for row in part], 0.5, seed=2)
        unlabelled, known = (random.Random(0).sample(half, min(most or len(half), len(half))) for half in (unlabelled, known))
        labelled.append(written(folder / f"{name}.csv", [header, *known]))
        written(folder / "texts" / f"{name}.csv", [["text"], *([row[0]] for row in unlabelled)])
    if not (folder / "corpus" / "manifest.json").exists():
        held = [part for path in labelled for part in ("--decontaminate", path)]
        call("corpus", "build", folder / "texts", "--out", folder / "corpus", "--quality", "none", *held)
    return labelled


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flops", default="1e13")
    parser.add_argument("--rows", default="500")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--epochs", type=float, default=10, help="of adapting: random weights learn little from fewer")
    parser.add_argument("--most", type=int, help="texts of each half: for trials")
    parser.add_argument("--dry-run", action="store_true", help="what each objective would get and take")
    a = parser.parse_args()
    labelled = prepared(a.folder, a.most)
    elmo = a.folder / "elmo-tiny" / "config.json"
    elmo.parent.mkdir(exist_ok=True)
    elmo.write_text(json.dumps(ELMO))
    objectives = f"cbow,bidirectional-lm={elmo},causal-lm,masked-lm,span-corruption"
    files = ",".join(map(str, labelled))
    told = ["--downstream", files, "--flops", a.flops, "--rows", a.rows, "--seeds", a.seeds, "--size", a.size]
    told += ["--set", f"training.epochs={a.epochs}", *(["--dry-run"] if a.dry_run else [])]
    call("compare", a.folder / "corpus", "--objectives", objectives, *told, *ACCEPT, "--out", a.folder / "compare")
    if a.dry_run:
        return
    found = json.loads((a.folder / "compare" / "compare.json").read_text())
    kept = json.loads((a.folder / "corpus" / "funnel.json").read_text())["kept"]
    places = {"corpora": ["corpus"], "corpus": kept}
    for each in found["objectives"].values():
        each["run"], each["architecture"] = (Path(each[key].removesuffix("/config.json")).name for key in ("run", "architecture"))
    for each in found["tasks"].values():
        each["file"] = Path(each["file"]).name
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "evolution.json").write_text(json.dumps(found | places, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RESULTS / 'evolution.json'}\n")


if __name__ == "__main__":
    main()
