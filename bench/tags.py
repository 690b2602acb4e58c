"""Tags of words: ours beside transformers' Trainer on the same rows and epochs; writes results/tags.jsonl.

    python bench/tags.py [--sets wnut17 conll2000 ewt] [--rows 2000] [--epochs 3] [--seeds 1 2 3]

The peer is the Trainer as its token-classification example sets it up (first token of each word, dynamic padding, rate 5e-5, batch 16);
`tuned` adds bf16 and batches of like length. Both measure on test rows that neither learning nor the choice of a state saw.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import sets

RESULTS = Path(__file__).parent / "results" / "tags.jsonl"


def wnut17():
    """Entities in posts: train, dev and test texts."""
    folder = sets.DATA / "wnut17"
    return [sets.text_of(folder / name) for name in ("wnut17train.conll.gz", "emerging.dev.conll", "emerging.test.annotated")]


def conll2000():
    """Chunks in news; every tenth training sentence is held out."""
    with zipfile.ZipFile(sets.DATA / "conll2000_chunking" / "conll2000.zip") as packed:
        train, test = (packed.read(f"conll2000/{part}.txt").decode() for part in ("train", "test"))
    blocks = train.strip().split("\n\n")
    held = set(range(0, len(blocks), 10))
    return ["\n\n".join(b for i, b in enumerate(blocks) if (i in held) == wanted) + "\n" for wanted in (False, True)] + [test]


def ewt():
    """Parts of speech in web text."""
    return [gzip.open(sets.DATA / "ud_english_ewt" / f"en_ewt-ud-{part}.conllu.gz", "rt").read() for part in ("train", "dev", "test")]


SETS = {"wnut17": (wnut17, ".conll", "f1"), "conll2000": (conll2000, ".conll", "f1"), "ewt": (ewt, ".conllu", "accuracy")}


def prepared(name, folder, rows):
    """Files of a set: the first `rows` sentences to learn from, a tenth of that to choose by, all test sentences."""
    make, suffix, _ = SETS[name]
    paths = []
    for part, text, most in zip(("train", "dev", "test"), make(), (rows, max(rows // 5, 200), None), strict=True):
        blocks = [block for block in text.replace("\n\t\n", "\n\n").strip().split("\n\n") if block.strip()]
        paths.append(Path(folder) / f"{name}-{part}{suffix}")
        paths[-1].write_text("\n\n".join(blocks[:most]) + "\n", "utf-8")
    return paths


def ours(paths, folder, a, seed):
    """One adapt and one evaluate of the command."""
    train, dev, test = map(str, paths)
    out = str(Path(folder) / "run")
    accept = [word for name in ("duplicates", "overlap", "contradictions", "truncation") for word in ("--accept", name)]
    line = [sys.executable, "-m", "rootstock"]
    options = ["--method", "full", "--epochs", a.epochs, "--seed", seed, "--out", out, "--overwrite", "--json", *accept]
    subprocess.run([*map(str, [*line, "adapt", train, "--validation", dev, *options])], capture_output=True, check=True)
    found = json.loads(subprocess.run([*line, "evaluate", out, test, "--json"], capture_output=True, check=True, text=True).stdout)
    measured = json.loads((Path(out) / "plan.json").read_text())["measured"]
    return {"rows_per_second": measured["rows_per_second"], "test": found["metrics"], "intervals": found["intervals"]}


def peer(paths, a, seed, mode):
    """The Trainer in a process of its own."""
    line = [sys.executable, __file__, "--peer", mode, "--files", *map(str, paths), "--epochs", str(a.epochs), "--seeds", str(seed)]
    return json.loads(subprocess.run(line, capture_output=True, check=True, text=True).stdout.splitlines()[-1])


def be_peer(a):
    """What a user of the Trainer writes; prints its figures."""
    import numpy as np
    from datasets import Dataset
    from seqeval.metrics import f1_score
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from rootstock.bases.resolve import resolve
    from rootstock.data.conll import read_conll

    set_seed(a.seeds[0])
    base = resolve("minilm").folder
    tokenizer = AutoTokenizer.from_pretrained(base)
    tables = [read_conll(Path(path).read_text("utf-8"), path).table for path in a.files]
    label = "upos" if "upos" in tables[0].column_names else "tags"
    names = sorted({tag for row in tables[0].column(label).to_pylist() for tag in row})
    number = {name: place for place, name in enumerate(names)}

    def encode(rows):
        made = tokenizer(rows["words"], truncation=True, max_length=256, is_split_into_words=True)
        made["labels"] = []
        for row, tags in enumerate(rows[label]):
            before, labels = None, []
            for word in made.word_ids(row):
                labels.append(number.get(tags[word], -100) if word is not None and word != before else -100)
                before = word
            made["labels"].append(labels)
        return made

    data = [Dataset.from_dict({key: each.column(key).to_pylist() for key in ("words", label)}) for each in (tables[0], tables[2])]
    train, test = (each.map(encode, batched=True, remove_columns=["words", label]) for each in data)
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=len(names))
    tuned = {"bf16": True, "train_sampling_strategy": "group_by_length"} if a.peer == "tuned" else {}
    settings = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        learning_rate=5e-5,
        num_train_epochs=a.epochs,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        seed=a.seeds[0],
        disable_tqdm=True,
        **tuned,
    )
    collate = DataCollatorForTokenClassification(tokenizer)
    trainer = Trainer(model=model, args=settings, train_dataset=train, data_collator=collate)
    started = time.perf_counter()
    trainer.train()
    spent = time.perf_counter() - started
    made = trainer.predict(test)
    told, truth = [], []
    for scores, labels in zip(made.predictions, made.label_ids, strict=True):
        asked = labels != -100
        told.append([names[i] for i in np.argmax(scores[asked], -1)])
        truth.append([names[i] for i in labels[asked]])
    pairs = [both for row in zip(told, truth, strict=True) for both in zip(*row, strict=True)]
    test_figures = {"accuracy": float(np.mean([a == b for a, b in pairs]))}
    if label == "tags":
        test_figures["f1"] = float(f1_score(truth, told))
    print(json.dumps({"rows_per_second": round(len(train) * a.epochs / spent, 1), "test": test_figures}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--files", nargs="+", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.peer:
        return be_peer(a)
    with tempfile.TemporaryDirectory() as folder, RESULTS.open("a") as out:
        for seed in a.seeds:
            for name in a.sets:
                paths = prepared(name, folder, a.rows)
                for who, run in (("default", peer), ("tuned", peer), ("ours", None)):
                    found = run(paths, a, seed, who) if run else ours(paths, folder, a, seed)
                    row = {"set": name, "who": who, "seed": seed, "rows": a.rows, "epochs": a.epochs, **found}
                    out.write(json.dumps(row) + "\n")
                    out.flush()
                    print(name, who, seed, round(found["test"][SETS[name][2]], 4), found["rows_per_second"], flush=True)
    return None


if __name__ == "__main__":
    main()
