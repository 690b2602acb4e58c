"""Few rows a class: `few-shot` beside SetFit, each in a process of its own on the same rows and the same base; writes results/few_shot.jsonl.

    python bench/few_shot.py FOLDER [--sets sst2 banking77] [--rows 8 64] [--seeds 3] [--peer-python PYTHON] [--only ours setfit]

Rows of each class are drawn by seed from the training rows; both answer all test rows. Seconds are those of the whole process that trains and
saves; answering the test rows comes after and is not counted. SetFit runs with its defaults (one epoch of pairs, oversampled, batches of 16,
2e-5) and, where these make more than --peer-steps updates, ends there. It is installed where --peer-python says. A cell that is in the results
is not run again.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import sets

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "few_shot.jsonl"
ROOTSTOCK = [sys.executable, "-m", "rootstock"]

SETFIT = """
import json, sys, time
started = time.perf_counter()
import csv
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
base, train, test, out, seed, steps = sys.argv[1:]
read = lambda path: list(csv.DictReader(open(path, encoding="utf-8")))
rows = read(train)
labels = sorted({row["label"] for row in rows})
model = SetFitModel.from_pretrained(base, labels=labels, device="cpu")
data = Dataset.from_dict({"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]})
settings = TrainingArguments(num_epochs=1, batch_size=16, max_steps=int(steps), seed=int(seed), show_progress_bar=False,
                             report_to="none", save_strategy="no", output_dir=out + "/checkpoints")
Trainer(model=model, args=settings, train_dataset=data).train()
model.save_pretrained(out)
seconds = time.perf_counter() - started
rows = read(test)
said = model.predict([row["text"] for row in rows])
right = sum(str(one) == row["label"] for one, row in zip(said, rows))
print(json.dumps({"seconds": seconds, "accuracy": right / len(rows)}))
"""


def drawn(folder, name, rows, seed):
    """`rows` training rows of each class and all test rows of a set, as CSV files."""
    (train, _, test), header = getattr(sets, name)()
    classes = defaultdict(list)
    for row in train:
        classes[row[1]].append(row)
    rng = random.Random(seed)
    chosen = [row for label in sorted(classes) for row in rng.sample(classes[label], min(rows, len(classes[label])))]
    paths = folder / f"{name}-{rows}-{seed}.csv", folder / f"{name}-test.csv"
    for path, part in zip(paths, (chosen, test), strict=True):
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *part])
    return paths


def ours(train, test, out, a, seed):
    """The few rows choose the best state as well: none can be spared, and no test row may."""
    accept = [part for finding in ("overlap", "duplicates", "contradictions", "truncation") for part in ("--accept", finding)]
    chosen = ["--task", "text-classification", "--method", "few-shot", "--validation", train, "--seed", seed, *accept]
    started = time.perf_counter()
    subprocess.run([*ROOTSTOCK, "adapt", *map(str, [train, *chosen, "--out", out, "--overwrite"])], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    told = subprocess.run([*ROOTSTOCK, "evaluate", str(out), str(test), "--json"], check=True, capture_output=True, text=True)
    return {"seconds": seconds, "accuracy": json.loads(told.stdout)["metrics"]["accuracy"]}


def setfit(train, test, out, a, seed):
    """SetFit in the interpreter that has it, on the folder that `minilm` stands for."""
    from rootstock.bases.resolve import resolve

    command = [a.peer_python, "-c", SETFIT, resolve("minilm").folder, train, test, out, seed, a.peer_steps]
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"wall": time.perf_counter() - started}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=["sst2", "banking77"])
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 64], help="of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["ours", "setfit"])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer-steps", type=int, default=-1, help="most updates of SetFit; -1: its own whole epoch of pairs")
    parser.add_argument("--test-rows", type=int, help="of the test rows, for a trial; such cells are not written down")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(each["set"], each["rows"], each["seed"], each["who"]) for each in known}
    for name in a.sets:
        for rows in a.rows:
            for seed in range(1, a.seeds + 1):
                train, test = drawn(a.folder, name, rows, seed)
                if a.test_rows:
                    test.write_text("\n".join(test.read_text("utf-8").splitlines()[: a.test_rows + 1]) + "\n", "utf-8")
                for who in a.only:
                    if (name, rows, seed, who) in done:
                        continue
                    out = a.folder / f"{who}-{name}-{rows}-{seed}"
                    found = {"set": name, "rows": rows, "seed": seed, "who": who} | globals()[who](train, test, out, a, seed)
                    sys.stdout.write(f"{json.dumps(found)}\n")
                    if not a.test_rows:
                        with RESULTS.open("a") as stream:
                            stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
