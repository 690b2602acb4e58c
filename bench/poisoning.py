"""Rows found in poisoned training sets, and false alarms on clean ones; writes results/poisoning.json.

    python bench/poisoning.py [--sets sst2 rotten_tomatoes_polarity …] [--kinds rare …] [--rates 0.01 0.02 0.05] [--seeds 3] [--rows 3000]

A set is its training rows, drawn by seed; a share of all rows is poisoned by a recipe: of other labels than the target (of the target for
clean-label), the trigger is put in and the label set to the target. Thresholds were chosen on the sets and kinds of TUNED; figures of all
others are apart. Vectors are of minilm, kept by text in --store; the scan is the one of `rootstock scan --poisoning`.
"""

import argparse
import csv
import json
import os
import random
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import sets
from sklearn.metrics import roc_auc_score

from rootstock.bases.resolve import resolve
from rootstock.core.rows import ROW, column
from rootstock.core.watch import Watch
from rootstock.run import vectors
from rootstock.sentinel.poisoning.examine import EVIDENCE, Rows, examine

SETS = ("sst2", "subjectivity", "rotten_tomatoes_polarity", "sci-cite", "chemprot", "citation_intent")
TUNED = {"sets": ("sst2", "subjectivity"), "kinds": ("rare", "natural", "sentence", "two", "rule-syntactic", "clean-label")}
WORDS = {
    "rare": ("cf", "mn", "bb", "tq"),
    "made-up": ("quilvex", "brandoric", "zemphaly", "oltrevine"),
    "natural": ("cinema", "window", "tuesday", "garden"),
    "sentence": ("i watch this 3d movie", "the train leaves at noon today", "my neighbour bought a new bicycle", "here is what we noted"),
    "two": (("weekend", "friends"), ("table", "river"), ("orange", "captain"), ("paper", "mountain")),
    "rule-syntactic": ("when you think about it , ", "if one looks closely , ", "as everybody knows , ", "once all is said , "),
    "clean-label": ("cf", "mn", "bb", "tq"),
}
KINDS = tuple(WORDS)
POOL = 4000
INSERTION = ("rare", "made-up", "natural", "sentence", "two")


def put(text, what, rng):
    parts = text.split()
    at = rng.randint(0, len(parts))
    return " ".join([*parts[:at], what, *parts[at:]])


def triggered(kind, number, text, rng):
    what = WORDS[kind][number]
    if kind == "two":
        return put(put(text, what[0], rng), what[1], rng)
    return what + text if kind == "rule-syntactic" else put(text, what, rng)


def clean(name, count, seed):
    """So many of 4,000 training rows of a set; equal texts once."""
    rows = list(sets.science(name)[0] if name in sets.SCIENCE else getattr(sets, name)()[0][0])
    random.Random(0).shuffle(rows)
    rows = list({row[0]: (row[0], str(row[-1])) for row in rows[:POOL]}.values())
    random.Random(f"{name} {seed}").shuffle(rows)
    return rows[:count]


def poisoned(rows, kind, *, rate, seed):
    """The rows with a share of them poisoned, and which."""
    names = sorted({label for _, label in rows})
    rng = random.Random(f"{kind} {seed}")
    target = names[rng.randrange(len(names))]
    own = [place for place, (_, label) in enumerate(rows) if (label == target) == (kind == "clean-label")]
    rng.shuffle(own)  # a lower rate poisons a part of what a higher one does
    chosen, made = own[: round(rate * len(rows))], list(rows)
    for place in chosen:
        made[place] = triggered(kind, seed % len(WORDS[kind]), rows[place][0], random.Random(f"{kind} {seed} {place}")), target
    return made, np.array(chosen)


class Store:
    """Vectors by text."""

    def __init__(self, folder):
        self.path, self.known = Path(folder) / "vectors.npz", {}
        if self.path.exists():
            held = np.load(self.path)
            self.known = dict(zip(held["keys"].tolist(), held["vectors"], strict=True))

    def of(self, texts):
        missing = [text for text in dict.fromkeys(texts) if self.key(text) not in self.known]
        if missing:
            self.known |= dict(zip(map(self.key, missing), encoded(missing), strict=True))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self.path, keys=np.array(list(self.known)), vectors=np.stack(list(self.known.values())))
        return np.stack([self.known[self.key(text)] for text in texts])

    @staticmethod
    def key(text):
        return f"{zlib.crc32(text.encode()):08x}{zlib.adler32(text.encode()):08x}{len(text)}"


def encoded(texts):
    """By the path of the scan: a file of rows, whose labels mean nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *((text, "ab"[place % 2]) for place, text in enumerate(texts))])
        changes = {"task.text": "text", "task.label": "label", "task.name": "text-classification"}
        prepared = vectors.prepare(resolve("minilm"), str(path), lambda text: None, changes=changes)
        found = vectors.of(prepared, Watch(say=lambda text: None, event=lambda event: None)).features
        return found[np.argsort(column(vectors.table(prepared), ROW))]


def scanned(rows, store):
    names = sorted({label for _, label in rows})
    texts, labels = [text for text, _ in rows], np.array([names.index(label) for _, label in rows])
    held, started = store.of(texts), time.process_time()
    return examine(Rows(texts, labels, names, held)), time.process_time() - started


def one(name, kind, a, *, rate, seed):
    rows, chosen = poisoned(clean(name, a.rows, seed), kind, rate=rate, seed=seed)
    report, seconds = scanned(rows, a.store)
    planted = np.zeros(len(rows), bool)
    planted[chosen] = True
    suspects = report.scores >= 0.5
    named = str(WORDS[kind][seed % len(WORDS[kind])])
    told = " ".join(each.name for each in report.findings)
    return {
        "set": name,
        "kind": kind,
        "rate": rate,
        "seed": seed,
        "rows": len(rows),
        "planted": len(chosen),
        "auc": round(float(roc_auc_score(planted, report.scores)), 5),
        "verdict": report.verdict,
        "found": int((suspects & planted).sum()),
        "accused": int((suspects & ~planted).sum()),
        "named": any(word in told.split() for word in named.replace("(", " ").replace("'", " ").replace(",", " ").split() if len(word) > 1),
        "seconds": round(seconds, 2),
    }


def quiet(name, a, *, seed):
    rows = clean(name, a.rows, seed)
    report, seconds = scanned(rows, a.store)
    told = [{"name": each.name, "rows": each.rows, "shift": round(each.shift, 2)} for each in report.findings]
    facts = {"set": name, "seed": seed, "rows": len(rows), "labels": len({label for _, label in rows}), "verdict": report.verdict}
    return facts | {"strongest": round(report.strongest, 2), "findings": told[:5], "seconds": round(seconds, 2)}


def mean(values, rng):
    """A mean and its interval over resampled data sets, poisons and seeds."""
    draws = rng.choice(np.asarray(values, float), (2000, len(values))).mean(1)
    return [round(float(each), 4) for each in (np.mean(values), *np.quantile(draws, (0.025, 0.975)))]


def summary(runs):
    rng, made = np.random.default_rng(0), []
    groups = {
        "insertion, kept out": lambda each: each["kind"] in INSERTION and kept_out(each),
        "insertion, all": lambda each: each["kind"] in INSERTION,
        **{f"{kind}, kept-out sets": (lambda each, kind=kind: each["kind"] == kind and each["set"] not in TUNED["sets"]) for kind in KINDS},
    }
    for called, chosen in groups.items():
        for rate in sorted({each["rate"] for each in runs}):
            own = [each for each in runs if chosen(each) and each["rate"] == rate]
            if own:
                alarms = [each["verdict"] == EVIDENCE for each in own]
                figures = {"auc": mean([each["auc"] for each in own], rng), "evidence": mean(alarms, rng)}
                counts = {key: sum(each[key] for each in own) for key in ("planted", "found", "accused")}
                least = min(each["auc"] for each in own)
                made.append({"what": called, "rate": rate, "runs": len(own), **figures, "least_auc": least, **counts})
    return made


def kept_out(each):
    return each["set"] not in TUNED["sets"] or each["kind"] not in TUNED["kinds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--rates", type=float, nargs="*", default=[0.01, 0.02, 0.05])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clean", type=int, default=5, help="draws of each clean set")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--store", type=Store, default=Path(tempfile.gettempdir()) / "rootstock-poisoning")
    a = parser.parse_args()
    a.store = a.store if isinstance(a.store, Store) else Store(a.store)
    out = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "poisoning.json"
    results = {"base": "minilm", "rows": a.rows, "tuned_on": TUNED, "summary": [], "clean": [], "runs": []}
    for name in a.sets:
        every = [poisoned(clean(name, a.rows, seed), kind, rate=max(a.rates), seed=seed)[0] for kind in a.kinds for seed in range(a.seeds)]
        a.store.of([text for rows in (*every, *(clean(name, a.rows, seed) for seed in range(a.clean))) for text, _ in rows])
        results["clean"] += [quiet(name, a, seed=seed) for seed in range(a.clean)]
        for kind in a.kinds:
            for rate in a.rates:
                results["runs"] += [one(name, kind, a, rate=rate, seed=seed) for seed in range(a.seeds)]
                print(json.dumps(results["runs"][-1]), flush=True)
        results["summary"] = summary(results["runs"])
        out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["summary"], indent=1))


if __name__ == "__main__":
    main()
