"""Was the pre-training worth it? A bert-mini pre-trained here against the same architecture from scratch, on few labelled rows.

    python bench/transfer.py FOLDER [--minutes 30] [--rows 500] [--seeds 5]

Corpus, tokenizer, base and every cell are kept in FOLDER, so a sitting that was cut short goes on. Writes results/transfer.json.
Both starts are given the same rates and keep the better on their validation rows.
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
RATES = (2e-4, 1e-3)


def call(*arguments):
    subprocess.run([*ROOTSTOCK, *map(str, arguments)], check=True)


def few_rows(folder, name, rows, seed):
    """`rows` training rows of a set drawn with a seed, and its test rows, as CSV files."""
    (train, validation, test), header = getattr(sets, name)()
    drawn = random.Random(seed).sample(train + validation, rows)
    paths = folder / f"{name}-{rows}-{seed}.csv", folder / f"{name}-test.csv"
    for path, part in zip(paths, (drawn, test), strict=True):
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *part])
    return paths


def base(folder, minutes):
    """The corpus, the tokenizer and the pre-trained base; each is made once."""
    tests = [few_rows(folder, name, 500, 0)[1] for name in SETS]
    if not (folder / "texts").exists():
        subprocess.run([sys.executable, HERE / "texts.py", folder / "texts"], check=True)
    if not (folder / "corpus" / "manifest.json").exists():
        held = [part for path in tests for part in ("--decontaminate", path)]
        call(
            "corpus", "build", folder / "texts", "stdlib-docs", "--out", folder / "corpus", "--languages", "en", "--quality", "none", *held
        )
    if not (folder / "tokenizer").exists():
        call(
            "tokenizer", "train", folder / "corpus", "--kind", "wordpiece", "--size", 8192, "--case", "lower", "--out", folder / "tokenizer"
        )
    if not (folder / "base" / "manifest.json").exists():
        scratch = ["--base", "scratch:bert-mini", "--tokenizer", folder / "tokenizer", "--length", 64]
        more = ["--set", "training.batch_tokens=2048", "--overwrite"]
        call("pretrain", folder / "corpus", "--task", "masked-lm", *scratch, "--minutes", minutes, "--out", folder / "base", *more)


def cell(folder, name, a, seed, start):
    """Test correctness of each row after adapting one start on few rows; kept."""
    kind, rate = start
    path = folder / "cells" / f"{name}-{a.rows}-{seed}-{kind}-{rate}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        train, test = few_rows(folder, name, a.rows, seed)
        chosen = ["--base", folder / "base"] if kind == "pretrained" else ["--base", "scratch:bert-mini"]
        chosen += ["--set", f"tokenizer={folder / 'tokenizer'}"] if kind == "scratch" else []
        out = folder / "runs" / path.stem
        accept = [part for finding in ("duplicates", "overlap", "contradictions", "truncation") for part in ("--accept", finding)]
        call("adapt", train, *chosen, "--method", "full", "--rate", rate, "--seed", seed, "--out", out, "--overwrite", *accept)
        import rootstock as rs

        run = rs.Run(out)
        rows = list(csv.DictReader(test.open(encoding="utf-8")))
        right = [said == row["label"] for said, row in zip(run.predict([row["text"] for row in rows]), rows, strict=True)]
        path.write_text(json.dumps({"validation": run.metrics["metrics"]["accuracy"], "right": right}))
    return json.loads(path.read_text())


def compared(folder, name, a):
    """Gain in test accuracy with a bootstrap over test rows, the mean over seeds within each."""
    right = {"pretrained": [], "scratch": []}
    for seed in range(1, a.seeds + 1):
        for kind, rows in right.items():
            tried = [cell(folder, name, a, seed, (kind, rate)) for rate in RATES]
            rows.append(max(tried, key=lambda each: each["validation"])["right"])
    mean = {kind: np.mean(rows, axis=0) for kind, rows in right.items()}
    gain = mean["pretrained"] - mean["scratch"]
    rng = np.random.default_rng(0)
    draws = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    by_seed = {kind: [float(np.mean(row)) for row in rows] for kind, rows in right.items()}
    figures = {kind: float(each.mean()) for kind, each in mean.items()}
    return {"set": name, "rows": a.rows, **figures, "gain": float(gain.mean()), "interval": [float(low), float(high)], "by_seed": by_seed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-base", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    base(a.folder, a.minutes)
    if a.only_base:
        return
    found = [compared(a.folder, name, a) for name in SETS]
    held = {key: json.loads((a.folder / "base" / f"{key}.json").read_text()) for key in ("metrics", "plan")}
    result = {"minutes": a.minutes, "base": {**held["metrics"]["metrics"], **held["plan"]["measured"]}, "sets": found}
    (HERE / "results" / "transfer.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(
        "\n".join(f"{r['set']:<26} {r['scratch']:.3f} -> {r['pretrained']:.3f}  gain {r['gain']:+.3f} {r['interval']}" for r in found)
        + "\n"
    )


if __name__ == "__main__":
    main()
