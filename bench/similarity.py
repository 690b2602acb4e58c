"""How alike two sentences are: ours beside transformers' Trainer on the same rows of sts_b and epochs; adds to results/similarity.jsonl.

    python bench/similarity.py [--rows 5749] [--epochs 3] [--seeds 1 2 3] [--methods full] [--rates 2e-5 2e-4]

The peer is the text-classification example on numbers: mean squared error of the scores as they are, batches of 32; its rates are the
example's and the one that is our default. `tuned` adds bf16 and batches of like length. Figures are of the test part; ours chooses its state
on the development part, the peer takes the last.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import beside
import sets


def be_trainer(told):
    """A model of one output, as the example sets it up; its correlations on the test rows."""
    from datasets import Dataset
    from scipy.stats import pearsonr, spearmanr
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

    set_seed(told["seed"])
    tokenizer = AutoTokenizer.from_pretrained(told["base"])

    def rows(path):
        with Path(path).open(encoding="utf-8", newline="") as stream:
            held = list(csv.DictReader(stream))
        made = tokenizer([row["sentence1"] for row in held], [row["sentence2"] for row in held], truncation=True, max_length=128)
        return Dataset.from_dict({**made, "labels": [float(row["score"]) for row in held]})

    train, test = rows(told["files"][0]), rows(told["files"][2])
    model = AutoModelForSequenceClassification.from_pretrained(told["base"], num_labels=1)
    args = TrainingArguments(**beside.trainer_settings(told), per_device_eval_batch_size=64)
    trainer = Trainer(model=model, args=args, train_dataset=train, processing_class=tokenizer)
    rates = beside.trained(trainer)
    made = trainer.predict(test)
    both = made.predictions[:, 0], made.label_ids
    figures = {"spearman": lambda *pair: float(spearmanr(*pair)[0]), "pearson": lambda *pair: float(pearsonr(*pair)[0])}
    intervals = {name: beside.interval(made_of, *both) for name, made_of in figures.items()}
    return rates | {"test": {name: made_of(*both) for name, made_of in figures.items()}, "intervals": intervals}


def fewer(path, rows):
    """The same file with its first rows only."""
    with path.open(encoding="utf-8", newline="") as stream:
        held = list(csv.reader(stream))
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(held[: rows + 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5749)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=["full"], help="of ours")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-5, 2e-4], help="of the peer")
    parser.add_argument("--modes", nargs="+", choices=["default", "tuned"], default=["tuned"], help="of the peer")
    a = parser.parse_args()
    from rootstock.bases.resolve import resolve

    base = resolve("minilm").folder
    with tempfile.TemporaryDirectory() as folder:
        paths = sets.prepare("sts_b", folder)
        fewer(paths[0], a.rows)
        for seed in a.seeds:
            row = {"set": "sts_b", "seed": seed, "rows": a.rows, "epochs": a.epochs}
            for mode in a.modes:
                for rate in a.rates:
                    told = {"files": paths, "base": base, "batch": 32, "epochs": a.epochs, "rate": rate, "seed": seed, "mode": mode}
                    beside.record("similarity", row | {"who": mode, "rate": rate} | beside.peer("trainer", told), ("spearman",))
            for method in a.methods:
                out = Path(folder) / "run"
                options = ["--validation", paths[1], "--task", "regression", "--method", method, "--epochs", a.epochs, "--seed", seed]
                found = beside.adapted(out, paths[0], *options) | beside.evaluated(out, paths[2])
                beside.record("similarity", row | {"who": f"ours, {method}"} | found, ("spearman",))


if __name__ == "__main__":
    beside.serve({"trainer": be_trainer}) or main()
