"""Was the pre-training worth it? A bert-mini pre-trained here against the same architecture from scratch, on few labelled rows.

    python bench/transfer.py FOLDER [--in-domain] [--minutes 30] [--rows 500] [--seeds 5]

Corpus, tokenizer, base and every cell are kept in FOLDER, so a sitting that was cut short goes on. Writes results/transfer.json.
Both starts are adapted with `full` (of two rates the better on its validation rows), the pre-trained one also by its features, which random
weights have none of. Which of these two ways counts is settled on a draw of its own, judged by 1,500 rows of the pool outside it. With
--in-domain half of the text is that of the downstream sets' own training pools, each row a document, without its label; no test row is ever
in a corpus.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import sets

HERE = Path(__file__).parent
ROOTSTOCK = [sys.executable, "-m", "rootstock"]
SETS = ("rotten_tomatoes_polarity", "subjectivity")
RATES, EPOCHS = (2e-4, 1e-3), 10
"""Random weights need more passes than the default's four to learn anything from 500 rows."""
WAYS = {
    "full": {str(rate): ["--method", "full", "--rate", rate, "--epochs", EPOCHS] for rate in RATES},
    "features": {"features": ["--method", "feature-extraction", "--set", "method.layer=all", "--set", "method.head=logistic-regression"]},
}
"""What each way tries; of several tries a seed keeps the one that is best on its validation rows."""
TRIAL, HELD = 0, 1500
"""The draw on which ways are compared, and the rows of the pool that judge them."""
ACCEPT = [part for finding in ("duplicates", "overlap", "contradictions", "truncation") for part in ("--accept", finding)]


def call(*arguments):
    subprocess.run([*ROOTSTOCK, *map(str, arguments)], check=True)


def few_rows(folder, name, rows, seed, *, most=None):
    """`rows` training rows of a set drawn with a seed (None: all), and its test rows, at most so many, as CSV files."""
    (train, validation, test), header = getattr(sets, name)()
    test = random.Random(0).sample(test, most) if most and most < len(test) else test
    pool = train + validation
    drawn = random.Random(seed).sample(pool, rows or len(pool))
    paths = folder / f"{name}-{rows or 'pool'}-{seed}.csv", folder / f"{name}-test.csv"
    for path, part in zip(paths, (drawn, test), strict=True):
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *part])
    return paths


def trial_rows(folder, name, rows):
    """The trial's draw, and rows of the pool outside it in the test's place."""
    drawn, _ = few_rows(folder, name, rows, TRIAL)
    path = folder / f"{name}-held.csv"
    with drawn.open(encoding="utf-8") as stream:
        header, *taken = csv.reader(stream)
    (train, validation, _), _ = getattr(sets, name)()
    left = [row for row in train + validation if list(row) not in taken]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *random.Random(TRIAL).sample(left, HELD)])
    return drawn, path


def corpus(folder, a):
    """The corpora that the base learns from; each is made once."""
    tests = [few_rows(folder, name, a.rows, 0)[1] for name in SETS]
    held = [part for path in tests for part in ("--decontaminate", path)]
    if not (folder / "texts").exists():
        subprocess.run([sys.executable, HERE / "texts.py", folder / "texts"], check=True)
    sources = {"corpus": [folder / "texts", "stdlib-docs"]}
    if a.in_domain:
        sources["pools"] = [few_rows(folder, name, None, 0)[0] for name in SETS]
    for name, given in sources.items():
        if not (folder / name / "manifest.json").exists():
            call("corpus", "build", *given, "--out", folder / name, "--languages", "en", "--quality", "none", *held)
    return [folder / name for name in sources]


def base(folder, a):
    """The tokenizer and the pre-trained base; each is made once."""
    corpora = corpus(folder, a)
    if not (folder / "tokenizer").exists():
        shape = ["--kind", "wordpiece", "--size", 8192, "--case", "lower"]
        call("tokenizer", "train", *corpora, *shape, "--out", folder / "tokenizer")
    if not (folder / "base" / "manifest.json").exists():
        spent = ["--set", f"training.steps={a.steps}"] if a.steps else ["--minutes", a.minutes]
        scratch = ["--base", "scratch:bert-mini", "--tokenizer", folder / "tokenizer", "--length", 64, "--mix", a.mix]
        more = ["--set", "training.batch_tokens=2048", "--set", f"task.share={a.share}", "--overwrite"]
        call("pretrain", *corpora, "--task", "masked-lm", *scratch, *spent, "--out", folder / "base", *more)


def adapted(path, files, out, chosen):
    """Whether each test row is right after one adaptation, and its accuracy on validation rows; kept at `path`."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        train, test = files
        call("adapt", train, *chosen, "--out", out, "--overwrite", *ACCEPT)
        import rootstock as rs

        run = rs.Run(out)
        rows = list(csv.DictReader(test.open(encoding="utf-8")))
        right = [said == row["label"] for said, row in zip(run.predict([row["text"] for row in rows]), rows, strict=True)]
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"validation": run.metrics["metrics"]["accuracy"], "right": right}))
        part.rename(path)
    return json.loads(path.read_text())


def best_drawn(tried):
    """Of each seed the try that is best on validation rows: its test accuracy, on all rows and on resamples.

    Equal for every way to train, so what two of them give is paired.
    """
    from rootstock.evaluation.paired import Drawn

    right_NS = np.array([max(of_seed, key=lambda each: each["validation"])["right"] for of_seed in tried], float).T
    rng = np.random.default_rng(0)
    resampled_RS = np.array([right_NS[rng.integers(0, len(right_NS), len(right_NS))].mean(0) for _ in range(1000)])
    return Drawn(right_NS.mean(0), resampled_RS, len(right_NS))


def cell(folder, name, a, seed, start):
    """One start adapted on few rows by one try."""
    kind, tried, options = start
    path = folder / "cells" / f"{name}-{a.rows}-{seed}-{kind}-{tried}.json"
    chosen = ["--base", folder / "base"] if kind == "pretrained" else ["--base", "scratch:bert-mini"]
    chosen += ["--set", f"tokenizer={folder / 'tokenizer'}"] if kind == "scratch" else []
    files = trial_rows(folder, name, a.rows) if seed == TRIAL else few_rows(folder, name, a.rows, seed)
    return adapted(path, files, folder / "runs" / path.stem, [*chosen, *options, "--seed", seed])


def drawn(folder, name, a, seeds, way):
    """What a start gave in one way, seed by seed. way: of which start, and which."""
    kind, tries = way[0], WAYS[way[1]].items()
    return best_drawn([[cell(folder, name, a, seed, (kind, *tried)) for tried in tries] for seed in seeds])


def compared(folder, name, a):
    """Gain in test accuracy of each way, its interval over test rows and seeds, and what each seed gave."""
    from rootstock.evaluation.paired import difference

    seeds = range(1, a.seeds + 1)
    trial = {way: drawn(folder, name, a, [TRIAL], ("pretrained", way)).mean for way in WAYS}
    plain = drawn(folder, name, a, seeds, ("scratch", "full"))
    ways = {way: drawn(folder, name, a, seeds, ("pretrained", way)) for way in WAYS}
    gains = {way: difference(each, plain) for way, each in ways.items()}
    found = {
        way: {"accuracy": ways[way].mean, "gain": each.value, "interval": list(each.interval), "by_seed": ways[way].whole.tolist()}
        for way, each in gains.items()
    }
    scratch = {"accuracy": plain.mean, "by_seed": plain.whole.tolist()}
    return {"set": name, "rows": a.rows, "scratch": scratch, "pretrained": found, "trial": trial, "way": max(trial, key=trial.__getitem__)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--in-domain", action="store_true")
    parser.add_argument("--share", type=float, default=0.4, help="of the tokens that are guessed; more than BERT's, as the budget is small")
    parser.add_argument("--mix", default="equal", help="shares of general text and of the pools, such as 1,4")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, help="updates instead of minutes: as many as a quiet machine makes in them")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-base", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    base(a.folder, a)
    if a.only_base:
        return
    found = [compared(a.folder, name, a) for name in SETS]
    held = {key: json.loads((a.folder / "base" / f"{key}.json").read_text()) for key in ("metrics", "plan")}
    out = HERE / "results" / "transfer.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    told = {
        "minutes": None if a.steps else a.minutes,
        "share": a.share,
        "mix": a.mix,
        "base": {**held["metrics"]["metrics"], **held["plan"]["measured"]},
        "sets": found,
    }
    out.write_text(json.dumps(results | {"in-domain" if a.in_domain else "general": told}, indent=1) + "\n")
    for each in found:
        for way, gave in each["pretrained"].items():
            chosen = " (chosen)" if way == each["way"] else ""
            gain = f"{each['scratch']['accuracy']:.3f} -> {gave['accuracy']:.3f}  gain {gave['gain']:+.3f} {gave['interval']}"
            sys.stdout.write(f"{each['set']:<26} {way + chosen:<20} {gain}\n")


if __name__ == "__main__":
    main()
