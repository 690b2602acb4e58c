"""What training aids give on few rows; writes results/aids.jsonl and prints a table of differences with intervals.

    python bench/aids.py [--rows 200] [--seeds 1 2 3 4 5] [--only eda ema] [--teacher RUN] [--there MODEL --back MODEL] [--paraphrase MODEL]
    python bench/aids.py --data chemprot --rows 4169 --seeds 1 2 3 --only plain "new tokens"

Rows of rotten_tomatoes_polarity or another set, minilm, full fine-tuning. Each aid learns from the rows that the plain run of its seed
learned from, and is measured on the same test rows. The interval is over seeds and test rows, drawn again together.

New tokens (`add_tokens`) are the 300 words of the training file that cost most in pieces: how often they stand there times the pieces beyond one.

Aids that need another model are left out where none is named. A teacher is a run on rows of the training file, such as
`rootstock adapt rotten_tomatoes_polarity-train.csv --method full --set data.rows=4000`; what it learned from is not what is measured on.
"""

import argparse
import collections
import csv
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import sets

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "aids.jsonl"
USUAL, BASE = "rotten_tomatoes_polarity", "minilm"
NEW, TOKENS = "new tokens", 300
AIDS = {
    "plain": {},
    "eda": {"augment": {"name": "eda"}},
    "class weights": {"task.class_weights": "balanced"},
    "label smoothing": {"task.label_smoothing": 0.1},
    "focal loss": {"task.focal": 2.0},
    "dropout": {"training.dropout": 0.1},
    "R-Drop": {"task.r_drop": 1.0, "training.dropout": 0.1},
    "adversary (FGM)": {"training.adversary": 0.05},
    "ema": {"training.average": "ema"},
    "swa": {"training.average": "swa"},
    "layer decay": {"training.layer_decay": 0.8},
    "mixup": {"training.mixup": 0.2},
}


def others(a):
    """Aids by the models that are named."""
    drawn = {"temperature": 0.8, "copies": 2}
    found = {}
    if a.teacher:
        found["distillation"] = {"teacher.run": a.teacher}
        found["distillation, hidden states"] = {"teacher.run": a.teacher, "teacher.hidden": 1.0}
    if a.there and a.back:
        found["back-translation"] = {"augment": {"name": "back-translation", "there": a.there, "back": a.back, **drawn}}
    if a.paraphrase:
        found["paraphrase"] = {"augment": {"name": "paraphrase", "model": a.paraphrase, "prompt": a.prompt, **drawn}}
    return found


def costly(train):
    """The words of a file that the base cuts into most pieces in all, four letters and more."""
    from rootstock.bases import load as bases
    from rootstock.bases.resolve import resolve

    with Path(train).open(newline="", encoding="utf-8") as stream:
        words = collections.Counter(word for row in csv.DictReader(stream) for word in re.findall("[a-z][a-z0-9]{3,}", row["text"].lower()))
    tokens = bases.tokenizer(resolve(BASE))
    cost = {word: many * (len(tokens.tokenize(word)) - 1) for word, many in words.items()}
    return sorted((word for word in cost if cost[word]), key=lambda word: (-cost[word], word))[:TOKENS]


def run(name, seed, files, rows):
    """Accuracy and hits on the test rows."""
    from rootstock.core.recipe import Recipe
    from rootstock.core.settings import changed
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    values = {"data": {"train": str(files["train"]), "rows": rows, "validation": 0.2}, "method": {"name": "full"}, "seed": seed}
    values["base"] = BASE
    values |= {"task": {"name": "text-classification"}, "accept": ["contradictions", "overlap", "duplicates", "truncation"]}
    with tempfile.TemporaryDirectory() as folder:
        made = api.carry_out(Recipe.build(changed(values, AIDS[name]), ""), Path(folder) / "run", Watch())
        test = made.read(str(files["test"]), labelled=True).rows
        scores = made.predictions(test).columns["scores"]
        seconds, account = made.folder.json("plan.json")["measured"]["seconds"], made.folder.json("ledger.json")
    hits = (scores.argmax(-1) == made.task.answers(test)).astype(int)
    told = {"aid": name, "seed": seed, "rows": rows, "accuracy": float(hits.mean()), "seconds": seconds, "hits": "".join(map(str, hits))}
    return told | ({"vocabulary": account["vocabulary"]} if "vocabulary" in account else {})


def table(rows):
    """Each aid's mean, its difference to plain and the interval of that."""
    held = {(row["aid"], row["seed"]): np.array(list(row["hits"]), dtype=int) for row in rows}
    seeds = sorted({seed for _, seed in held})
    rng, lines = np.random.default_rng(0), ["| aid | accuracy | difference to plain | seconds |", "| --- | ---: | ---: | ---: |"]
    for aid in dict.fromkeys(row["aid"] for row in rows):
        common = [seed for seed in seeds if (aid, seed) in held and ("plain", seed) in held]
        apart = np.stack([held[aid, seed] - held["plain", seed] for seed in common])
        drawn = [
            apart[rng.integers(0, len(common), len(common))][:, rng.integers(0, apart.shape[1], apart.shape[1])].mean() for _ in range(2000)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975])
        mean = np.mean([held[aid, seed].mean() for seed in common])
        seconds = np.median([row["seconds"] for row in rows if row["aid"] == aid])
        told = "" if aid == "plain" else f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {aid} | {mean:.3f} | {told} | {seconds:.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=(USUAL, "chemprot", "sci_cite"), default=USUAL)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--teacher", help="a finished run on the same labels, for distillation")
    parser.add_argument("--there", help="a model that translates from English")
    parser.add_argument("--back", help="a model that translates back")
    parser.add_argument("--paraphrase", help="a model that says a text in other words")
    parser.add_argument("--prompt", default="{text}", help="what the paraphraser is given")
    a = parser.parse_args()
    AIDS.update(others(a))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    rows = [row for row in rows if row.get("data", USUAL) == a.data]
    done = {(row["aid"], row["seed"], row["rows"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder, RESULTS.open("a") as out:
        files = dict(zip(("train", "validation", "test"), sets.prepare(a.data, folder), strict=True))
        if a.only and NEW in a.only:
            AIDS[NEW] = {"add_tokens": costly(files["train"])}
        for seed in a.seeds:
            for name in a.only or AIDS:
                if (name, seed, a.rows) not in done:
                    rows.append(run(name, seed, files, a.rows) | ({} if a.data == USUAL else {"data": a.data}))
                    out.write(json.dumps(rows[-1]) + "\n")
                    out.flush()
                    print(name, seed, round(rows[-1]["accuracy"], 4), rows[-1]["seconds"], flush=True)
    print(table([row for row in rows if row["rows"] == a.rows]))


if __name__ == "__main__":
    main()
