"""Answers found in passages: ours beside transformers' Trainer on the same rows and epochs; adds to results/questions.jsonl.

    python bench/questions.py [--sets policyqa xquad] [--rows 3000] [--epochs 3] [--seeds 1 2 3] [--rates 3e-5 2e-4]

policyqa's dev part is parted into training and validation by its documents, and its test part is measured on; xquad-en is parted by its
articles, a third of them to measure on. Ours chooses its state on the validation rows; the peer, as its example does, takes the last.
The peer is what the question-answering example does (windows of 384 tokens that share 128, batch 12, the best pair of the 20 best starts
and ends); its rates: the example's, and the one that is our default. `tuned` adds bf16 and batches of like length. F1 and EM are SQuAD's.
"""

import argparse
import collections
import json
import random
import re
import string
import tempfile
from pathlib import Path

import beside
import sets


def parted(data, share, seed=0):
    """Documents of a SQuAD file in two, by the share of the second."""
    documents = list(data)
    random.Random(seed).shuffle(documents)
    border = round(len(documents) * (1 - share))
    return documents[:border], documents[border:]


def policyqa():
    dev, test = (json.loads(sets.text_of(sets.DATA / "policyqa" / f"{part}.json.gz"))["data"] for part in ("dev", "test"))
    return *parted(dev, 0.15), test


def xquad():
    rest, test = parted(json.loads(sets.text_of(sets.DATA / "xquad" / "xquad.en.json.gz"))["data"], 1 / 3)
    return *parted(rest, 0.15, seed=1), test


SETS = {"policyqa": policyqa, "xquad": xquad}


def first(documents, most):
    """The first `most` questions, with their passages."""
    kept = []
    for document in documents:
        kept.append({**document, "paragraphs": []})
        for passage in document["paragraphs"]:
            held = passage["qas"][: max(most, 0)]
            most -= len(held)
            if held:
                kept[-1]["paragraphs"].append({**passage, "qas": held})
    return [document for document in kept if document["paragraphs"]]


def prepared(name, folder, a):
    """The three files of a set."""
    paths = []
    for part, documents, most in zip(("train", "dev", "test"), SETS[name](), (a.rows, max(a.rows // 5, 50), a.test_rows), strict=True):
        paths.append(Path(folder) / f"{name}-{part}.json")
        paths[-1].write_text(json.dumps({"version": "1.1", "data": first(documents, most)}), "utf-8")
    return paths


def rows_of(path):
    """Id, question, passage, answers and their starts."""
    for document in json.loads(Path(path).read_text("utf-8"))["data"]:
        for passage in document["paragraphs"]:
            for asked in passage["qas"]:
                texts, starts = ([each[key] for each in asked["answers"]] for key in ("text", "answer_start"))
                yield {"question": asked["question"].strip(), "context": passage["context"], "texts": texts, "starts": starts}


def plain(text):
    """Words of an answer as SQuAD compares them."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(said, true):
    said, true = plain(said), plain(true)
    shared = sum((collections.Counter(said) & collections.Counter(true)).values())
    return 2 * shared / (len(said) + len(true)) if shared else float(said == true)


def be_trainer(told):
    """What the example of the Trainer does; its figures on the test rows."""
    import numpy as np
    from datasets import Dataset
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, Trainer, TrainingArguments, default_data_collator, set_seed

    set_seed(told["seed"])
    tokenizer = AutoTokenizer.from_pretrained(told["base"])
    window = {"truncation": "only_second", "max_length": 384, "stride": 128, "return_overflowing_tokens": True}

    def windows(rows):
        padding = "max_length" if told["mode"] == "default" else False
        return tokenizer(rows["question"], rows["context"], **window, return_offsets_mapping=True, padding=padding)

    def learned(rows):
        made = windows(rows)
        made["start_positions"], made["end_positions"] = [], []
        offsets, of_row = made.pop("offset_mapping"), made.pop("overflow_to_sample_mapping")
        for number, places in enumerate(offsets):
            kinds, row = made.sequence_ids(number), of_row[number]
            inside = [place for place, kind in enumerate(kinds) if kind == 1]
            begin, text = rows["starts"][row][0], rows["texts"][row][0]
            span = [i for i in inside if places[i][0] < begin + len(text) and places[i][1] > begin]
            whole = span and places[inside[0]][0] <= begin and places[inside[-1]][1] >= begin + len(text)
            made["start_positions"].append(span[0] if whole else 0)
            made["end_positions"].append(span[-1] if whole else 0)
        return made

    def asked(rows):
        made = windows(rows)
        made["row"] = made.pop("overflow_to_sample_mapping")
        made["offsets"] = [
            [place if kind == 1 else None for place, kind in zip(places, made.sequence_ids(number), strict=True)]
            for number, places in enumerate(made.pop("offset_mapping"))
        ]
        return made

    rows = [list(rows_of(path)) for path in told["files"]]
    data = [Dataset.from_list(rows[part]) for part in (0, 2)]
    train = data[0].map(learned, batched=True, remove_columns=data[0].column_names)
    test = data[1].map(asked, batched=True, batch_size=len(rows[2]), remove_columns=data[1].column_names)
    model = AutoModelForQuestionAnswering.from_pretrained(told["base"])
    args = TrainingArguments(**beside.trainer_settings(told), per_device_eval_batch_size=64)
    collate = {} if told["mode"] == "default" else {"processing_class": tokenizer}
    trainer = Trainer(model=model, args=args, train_dataset=train, data_collator=default_data_collator if not collate else None, **collate)
    rates = beside.trained(trainer)
    starts, ends = beside.predicted(trainer, test.remove_columns(["row", "offsets"])).predictions
    best = [(-np.inf, "")] * len(rows[2])
    for row, places, start, end in zip(test["row"], test["offsets"], starts, ends, strict=True):
        for first_ in np.argsort(-start)[:20]:
            for last in np.argsort(-end)[:20]:
                if not (first_ <= last < first_ + 30 and max(first_, last) < len(places) and places[first_] and places[last]):
                    continue
                score = start[first_] + end[last]
                if score > best[row][0]:
                    best[row] = score, rows[2][row]["context"][places[first_][0] : places[last][1]]
    pairs = [(said, row["texts"]) for (_, said), row in zip(best, rows[2], strict=True)]
    right = [max(float(plain(said) == plain(true)) for true in texts) for said, texts in pairs]
    shared = [max(f1(said, true) for true in texts) for said, texts in pairs]
    figures = {"f1": shared, "exact_match": right}
    return rates | {
        "test": {key: float(np.mean(each)) for key, each in figures.items()},
        "intervals": {key: beside.interval(np.mean, each) for key, each in figures.items()},
        "windows": len(train),
    }


def ours(paths, folder, a, seed):
    """One adapt and one evaluate."""
    train, dev, test = paths
    out = Path(folder) / "run"
    found = beside.adapted(
        out, train, "--validation", dev, "--task", "question-answering", "--method", "full", "--epochs", a.epochs, "--seed", seed
    )
    return found | beside.evaluated(out, test)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-5, 2e-4], help="of the peer")
    parser.add_argument("--modes", nargs="+", choices=["default", "tuned"], default=["tuned"], help="of the peer")
    a = parser.parse_args()
    from rootstock.bases.resolve import resolve

    base = resolve("minilm").folder
    with tempfile.TemporaryDirectory() as folder:
        for seed in a.seeds:
            for name in a.sets:
                paths = prepared(name, folder, a)
                row = {"set": name, "seed": seed, "rows": a.rows, "epochs": a.epochs}
                for mode in a.modes:
                    for rate in a.rates:
                        told = {"files": paths, "base": base, "batch": 12, "epochs": a.epochs, "rate": rate, "seed": seed, "mode": mode}
                        found = beside.peer("trainer", told)
                        beside.record("questions", row | {"who": mode, "rate": rate} | found, ("f1", "exact_match"))
                beside.record("questions", row | {"who": "ours"} | ours(paths, folder, a, seed), ("f1", "exact_match"))


if __name__ == "__main__":
    beside.serve({"trainer": be_trainer}) or main()
