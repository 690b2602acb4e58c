"""Tags of words: ours beside transformers' Trainer on the same rows and epochs; adds to results/tags.jsonl.

    python bench/tags.py [--sets wnut17 wnut17-later conll2000 ewt] [--rows 2000] [--epochs 3] [--seeds 1 2 3]

The peer is the Trainer as its token-classification example sets it up (first token of each word, dynamic padding, rate 5e-5, batch 16);
`tuned` adds bf16 and batches of like length. Both measure on test rows that neither learning nor the choice of a state saw.
"""

import argparse
import gzip
import tempfile
import zipfile
from pathlib import Path

import beside
import sets


def wnut17():
    """Entities in posts: train, dev and test texts."""
    folder = sets.DATA / "wnut17"
    return [sets.text_of(folder / name) for name in ("wnut17train.conll.gz", "emerging.dev.conll", "emerging.test.annotated")]


def wnut17_later():
    """Rows that took no part when ours was set on wnut17: its last training sentences, every tenth held out, and dev to measure on."""
    train, dev, _ = wnut17()
    blocks = [each for each in train.replace("\n\t\n", "\n\n").strip().split("\n\n") if each.strip()][-2200:]
    held = set(range(0, len(blocks), 11))
    return ["\n\n".join(b for i, b in enumerate(blocks) if (i in held) == wanted) + "\n" for wanted in (False, True)] + [dev]


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


SETS = {
    "wnut17": (wnut17, ".conll", "f1"),
    "wnut17-later": (wnut17_later, ".conll", "f1"),
    "conll2000": (conll2000, ".conll", "f1"),
    "ewt": (ewt, ".conllu", "accuracy"),
}


def tags(block):
    """Those of a sentence; of a treebank the parts of speech."""
    lines = [line.split("\t") if "\t" in line else line.split() for line in block.splitlines() if not line.startswith("# ")]
    return {line[3] if len(line) == 10 else line[-1] for line in lines}


def prepared(name, folder, rows):
    """Files of a set: the first `rows` sentences to learn from, a fifth of that to choose by, all test sentences whose tags were learned."""
    make, suffix, _ = SETS[name]
    paths, known = [], set()
    for part, text, most in zip(("train", "dev", "test"), make(), (rows, max(rows // 5, 200), None), strict=True):
        blocks = [block for block in text.replace("\n\t\n", "\n\n").strip().split("\n\n") if block.strip()][:most]
        known = known or set().union(*map(tags, blocks))
        blocks = [block for block in blocks if tags(block) <= known]
        paths.append(Path(folder) / f"{name}-{part}{suffix}")
        paths[-1].write_text("\n\n".join(blocks) + "\n", "utf-8")
    return paths


def ours(paths, folder, a, seed):
    """One adapt and one evaluate of the command."""
    train, dev, test = paths
    out = Path(folder) / "run"
    found = beside.adapted(out, train, "--validation", dev, "--method", "full", "--epochs", a.epochs, "--seed", seed)
    return found | beside.evaluated(out, test)


def be_trainer(told):
    """What a user of the Trainer writes; its figures on the test rows."""
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

    from rootstock.data.conll import read_conll

    set_seed(told["seed"])
    tokenizer = AutoTokenizer.from_pretrained(told["base"])
    tables = [read_conll(Path(path).read_text("utf-8"), path).table for path in told["files"]]
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
    model = AutoModelForTokenClassification.from_pretrained(told["base"], num_labels=len(names))
    settings = TrainingArguments(**beside.trainer_settings(told), per_device_eval_batch_size=64)
    collate = DataCollatorForTokenClassification(tokenizer)
    trainer = Trainer(model=model, args=settings, train_dataset=train, data_collator=collate)
    rates = beside.trained(trainer)
    made = trainer.predict(test)
    said, truth = [], []
    for scores, labels in zip(made.predictions, made.label_ids, strict=True):
        asked = labels != -100
        said.append([names[i] for i in np.argmax(scores[asked], -1)])
        truth.append([names[i] for i in labels[asked]])
    pairs = [both for row in zip(said, truth, strict=True) for both in zip(*row, strict=True)]
    test_figures = {"accuracy": float(np.mean([a == b for a, b in pairs]))}
    if label == "tags":
        test_figures["f1"] = float(f1_score(truth, said))
    return rates | {"test": test_figures}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--modes", nargs="+", choices=["default", "tuned"], default=["default", "tuned"], help="of the peer")
    a = parser.parse_args()
    from rootstock.bases.resolve import resolve

    base = resolve("minilm").folder
    with tempfile.TemporaryDirectory() as folder:
        for seed in a.seeds:
            for name in a.sets:
                paths = prepared(name, folder, a.rows)
                row = {"set": name, "seed": seed, "rows": a.rows, "epochs": a.epochs}
                for mode in a.modes:
                    told = {"files": paths, "base": base, "batch": 16, "epochs": a.epochs, "rate": 5e-5, "seed": seed, "mode": mode}
                    beside.record("tags", row | {"who": mode} | beside.peer("trainer", told), [SETS[name][2]])
                beside.record("tags", row | {"who": "ours"} | ours(paths, folder, a, seed), [SETS[name][2]])


if __name__ == "__main__":
    beside.serve({"trainer": be_trainer}) or main()
