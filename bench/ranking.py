"""Does an order of bases by frozen vectors foretell that of fine-tuned ones? Writes results/ranking.json.

    python bench/ranking.py FOLDER [--rows 600] [--test 1000] [--sets sst2 subjectivity banking77] [--seeds 3] [--bases FOLDER …] [--names …]

Six bases: minilm, its lowest four and two blocks, minilm with its last two and last four blocks drawn anew, and a bert-mini of random
weights; --bases adds folders, --names leaves only these. Each is scored by `plan --rank-bases` on the training rows, and fine-tuned on them with every seed. Over the
bases of a set: Spearman's and Kendall's correlation of each score with the mean test figure, and how often permuted bases come as far.
Every cell is kept in FOLDER, so a sitting that was cut short goes on. ROOTSTOCK_RESULTS is another folder for results: for trials.
"""

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import sets
import torch
from scipy.stats import kendalltau, spearmanr

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
ROOTSTOCK = [sys.executable, "-m", "rootstock"]
SCORES = ("probe", "neighbours", "logme")
ACCEPT = [part for finding in ("duplicates", "overlap", "contradictions", "truncation") for part in ("--accept", finding)]
PERMUTATIONS = 10_000


def told(*arguments):
    """What a command prints as JSON."""
    return json.loads(subprocess.run([*ROOTSTOCK, *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)


def kept(path, make):
    """The JSON at a place, made where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
    return json.loads(path.read_text("utf-8"))


def rows_of(folder, name, rows, test):
    """Training and test rows of a set, drawn once, as CSV files."""
    paths = [folder / f"{name}-{part}.csv" for part in ("train", "test")]
    if not all(path.exists() for path in paths):
        (train, validation, held), header = getattr(sets, name)()
        for path, pool, count in zip(paths, (train + validation, held), (rows, test), strict=True):
            drawn = random.Random(0).sample(pool, len(pool))
            if path is paths[0]:  # each label twice or more, so that the split leaves each to learn from
                drawn = twice_first(drawn)
            drawn = drawn[:count]
            with path.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([header, *drawn])
    return paths


def twice_first(rows):
    """Two rows of each label before the others, which keep their order."""
    seen, first, rest = Counter(), [], []
    for row in rows:
        seen[row[-1]] += 1
        (first if seen[row[-1]] <= 2 else rest).append(row)
    return first + rest


def drawn_anew(module):
    """BERT's own start; transformers' would leave alone what it has loaded."""
    if isinstance(module, torch.nn.Linear):
        torch.nn.init.normal_(module.weight, std=0.02)
        torch.nn.init.zeros_(module.bias)
    elif isinstance(module, torch.nn.LayerNorm):
        module.reset_parameters()


def bases(folder):
    """The bases by name, made in a folder where they have to be."""
    from transformers import AutoModel, AutoTokenizer

    from rootstock.bases.resolve import resolve
    from rootstock.bases.scratch import config as architecture

    source = resolve("minilm").folder
    made = {"minilm": "minilm"}
    for name, lowest, anew in (("minilm-4", 4, 0), ("minilm-2", 2, 0), ("minilm-anew-2", 6, 2), ("minilm-anew-4", 6, 4), ("random", 0, 0)):
        place = folder / "bases" / name
        made[name] = str(place)
        if (place / "config.json").exists():
            continue
        torch.manual_seed(0)
        if name == "random":
            model = AutoModel.from_config(architecture("bert-mini", AutoTokenizer.from_pretrained(source)))
        else:
            model = AutoModel.from_pretrained(source)
            del model.encoder.layer[lowest:]
            model.config.num_hidden_layers = lowest
            for block in list(model.encoder.layer)[lowest - anew :] if anew else []:
                block.apply(drawn_anew)
        beside = place.with_name(f".{name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        model.save_pretrained(beside)
        AutoTokenizer.from_pretrained(source).save_pretrained(beside)
        beside.rename(place)
    return made


def measured(a, name, base, files, seed):
    """The test figure of a base that was fine-tuned."""
    run = a.folder / "runs" / f"{name}-{Path(base).name}-{seed}"
    more = (
        "--base",
        base,
        "--method",
        "full",
        "--set",
        f"seed={seed}",
        *ACCEPT,
        "--out",
        run,
        "--overwrite",
        *(("--epochs", a.epochs) if a.epochs else ()),
    )
    subprocess.run([*ROOTSTOCK, "adapt", str(files[0]), *map(str, more)], check=True, stdout=subprocess.DEVNULL)
    found = told("evaluate", run, files[1])
    shutil.rmtree(run)
    return found["metrics"][sets.HEADLINE.get(name, "accuracy")]


def related(measure, score, figure):
    """A rank correlation; 0 where one of both is all equal."""
    return float(measure(score, figure).statistic) if np.ptp(score) and np.ptp(figure) else 0.0


def correlations(scores, figures):
    """Of one score over the bases of each set, [sets, bases]: per set, and the mean with the middle 95 % under no relation, and p."""
    rng, found = np.random.default_rng(0), {}
    for called, measure in (("spearman", spearmanr), ("kendall", kendalltau)):
        each = [related(measure, score, figure) for score, figure in zip(scores, figures, strict=True)]
        drawn = [
            float(np.mean([related(measure, rng.permutation(score), figure) for score, figure in zip(scores, figures, strict=True)]))
            for _ in range(PERMUTATIONS // (1 if called == "spearman" else 5))
        ]
        mean = float(np.mean(each))
        p = (1 + sum(value >= mean - 1e-12 for value in drawn)) / (1 + len(drawn))
        found[called] = {"sets": each, "mean": mean, "under_no_relation": np.quantile(drawn, [0.025, 0.975]).tolist(), "p": p}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--sets", nargs="+", default=["sst2", "subjectivity", "banking77"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bases", nargs="*", default=[])
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--epochs", type=float)
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    known = bases(a.folder) | {Path(each).name: each for each in a.bases}
    known = {name: base for name, base in known.items() if not a.names or name in a.names}
    rows = []
    for name in a.sets:
        files = rows_of(a.folder, name, a.rows, a.test)
        ranked = kept(
            a.folder / "ranks" / f"{name}.json", lambda files=files: told("plan", "--rank-bases", *known.values(), "--data", files[0])
        )
        by_base = {each["base"]: each for each in ranked["bases"]}
        for called, base in known.items():
            figures = [
                kept(
                    a.folder / "cells" / f"{name}-{called}-{seed}.json",
                    lambda b=base, s=seed, n=name, f=files: measured(a, n, b, f, s),
                )
                for seed in range(a.seeds)
            ]
            scores = {score: by_base[base][score] for score in SCORES}
            rows.append({"set": name, "base": called, "fine_tuned": figures, **scores, "cost": by_base[base]["cost"]})
            print(name, called, figures, {score: round(each["value"], 3) for score, each in scores.items()}, flush=True)
    table = [[row for row in rows if row["set"] == name] for name in a.sets]
    figures = [[float(np.mean(row["fine_tuned"])) for row in each] for each in table]
    found = {score: correlations([[row[score]["value"] for row in each] for each in table], figures) for score in SCORES}
    told_first = {score: [max(each, key=lambda row: row[score]["value"])["base"] for each in table] for score in SCORES} | {
        "fine_tuned": [max(each, key=lambda row: np.mean(row["fine_tuned"]))["base"] for each in table]
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {"rows": a.rows, "seeds": a.seeds, "sets": a.sets, "correlations": found, "first": told_first, "cells": rows}
    (RESULTS / "ranking.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for score, each in found.items():
        print(score, {name: (round(one["mean"], 3), round(one["p"], 4)) for name, one in each.items()})


if __name__ == "__main__":
    main()
