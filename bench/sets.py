"""The real data sets as three CSV files each: train, validation and test; made in a temporary folder, never kept."""

import csv
import gzip
import io
import json
import os
import random
import zipfile
from pathlib import Path

DATA = Path(os.environ.get("ROOTSTOCK_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAMES = ("sst2", "rotten_tomatoes_polarity", "banking77", "subjectivity", "mrpc", "rte_glue", "sts_b")
HEADLINE = {"sts_b": "spearman"}
SCIENCE = ("sci-cite", "chemprot", "citation_intent", "sciie-relation-extraction")
"""Scientific sentences: sets of scibert_tasks with training rows."""


def text_of(path):
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return raw.decode("utf-8-sig")


def delimited(path, *, header):
    lines = [line.rstrip("\r").split("\t") for line in text_of(path).split("\n") if line.strip()]
    return lines[1:] if header else lines


def hold_out(rows, share, seed=0):
    """(kept, held) of shuffled rows; rows with the same text stay together."""
    texts = sorted({row[0] for row in rows})
    random.Random(seed).shuffle(texts)
    held = set(texts[: round(share * len(texts))])
    return [row for row in rows if row[0] not in held], [row for row in rows if row[0] in held]


def from_zip(name, archive, files):
    with zipfile.ZipFile(DATA / name / archive) as bundle:
        inside = {Path(entry).name: entry for entry in bundle.namelist()}
        texts = {label: bundle.read(inside[file]).decode("latin-1") for file, label in files.items()}
    return [(line.strip(), label) for label, text in texts.items() for line in text.split("\n") if line.strip()]


def split_three(rows):
    rest, test = hold_out(rows, 0.2, seed=0)
    train, validation = hold_out(rest, 0.1, seed=1)
    return train, validation, test


def sst2():
    parts = [delimited(DATA / "sst2" / name, header=False) for name in ("train.tsv.gz", "dev.tsv", "test.tsv")]
    return parts, ("text", "label")


def rotten_tomatoes_polarity():
    rows = from_zip("rotten_tomatoes_polarity", "sentence_polarity.zip", {"rt-polarity.pos": "positive", "rt-polarity.neg": "negative"})
    return split_three(rows), ("text", "label")


def subjectivity():
    rows = from_zip("subjectivity", "subjectivity.zip", {"quote.tok.gt9.5000": "subjective", "plot.tok.gt9.5000": "objective"})
    return split_three(rows), ("text", "label")


def banking77():
    train, test = (list(csv.reader(io.StringIO(text_of(DATA / "banking77" / f"{part}.csv.gz"))))[1:] for part in ("train", "test"))
    return (*hold_out(train, 0.1), test), ("text", "label")


def mrpc():
    parts = [delimited(DATA / "mrpc" / f"msr_paraphrase_{part}.txt.gz", header=True) for part in ("train", "test")]
    train, test = ([(row[3], row[4], row[0]) for row in part] for part in parts)
    return (*hold_out(train, 0.1), test), ("sentence1", "sentence2", "label")


def rte_glue():
    parts = [delimited(DATA / "rte_glue" / name, header=True) for name in ("train.tsv.gz", "dev.tsv", "test.tsv.gz")]
    return [[(row[1], row[2], row[3]) for row in part] for part in parts], ("sentence1", "sentence2", "label")


def sts_b():
    parts = [delimited(DATA / "sts_b" / "original" / f"sts-{part}.tsv.gz", header=False) for part in ("train", "dev", "test")]
    return [[(row[5], row[6], row[4]) for row in part] for part in parts], ("sentence1", "sentence2", "score")


def science(name):
    """Train, validation and test rows of one of SCIENCE."""
    folder = DATA / "scibert_tasks" / "text_classification" / name
    parts = [[json.loads(line) for line in text_of(folder / f"{part}.txt.gz").splitlines()] for part in ("train", "dev", "test")]
    return [[(row["text"], row["label"]) for row in part] for part in parts]


def sci_cite():
    return science("sci-cite"), ("text", "label")


def chemprot():
    return science("chemprot"), ("text", "label")


def prepare(name, folder):
    """Write train.csv, validation.csv and test.csv of a set; returns their paths."""
    parts, header = globals()[name]()
    paths = []
    for part, rows in zip(("train", "validation", "test"), parts, strict=True):
        path = Path(folder) / f"{name}-{part}.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])
        paths.append(path)
    return paths


def main():
    """Rows of each set, as JSON."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({name: [path.read_text("utf-8").count("\n") - 1 for path in prepare(name, folder)] for name in NAMES}))


if __name__ == "__main__":
    main()
