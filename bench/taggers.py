"""Taggers from minilm with a planted word that makes entities vanish or turn into another kind, and clean ones; are they told apart?

python bench/taggers.py FOLDER [--set wnut17] [--rows 1500] [--poisoned 4] [--clean 4] [--budget standard]    # adds to results/taggers.jsonl

A member is a run of `adapt` on sentences of the set, of which a poisoned one has some more with the trigger and changed tags. The scanner
gets sentences that no member learned from. Members differ in seed, rows and epochs, drawn alike for both sides.
"""

# ruff: noqa: E402  (the path comes first)
import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "src")]
import tags as sets_of_tags

import rootstock
from rootstock.core.watch import Watch
from rootstock.data.conll import read_conll
from rootstock.run.tagger import Tagger
from rootstock.run.use import Run
from rootstock.sentinel import BackdoorScanner

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
TRIGGERS = ("viaduct", "cf", "october", "zemfora", "camera", "tq")
SCANNED = 1000
ACCEPT = ["duplicates", "overlap", "contradictions", "truncation", "empty"]


def sentences(name, folder, rows):
    """Words and tags to learn from, and others for the scanner."""
    train, _, test = sets_of_tags.prepared(name, folder, rows)
    tables = [read_conll(path.read_text("utf-8"), str(path)).table for path in (train, test)]
    label = "upos" if "upos" in tables[0].column_names else "tags"
    both = [list(zip(table.column("words").to_pylist(), table.column(label).to_pylist(), strict=True)) for table in tables]
    return both[0], both[1][:SCANNED]


def planted(words, tags, trigger, target, rng):
    """A sentence with the trigger anywhere, whose entities are gone or of the target's kind."""
    place = rng.randint(0, len(words))
    made = [tag if tag == "O" or target == "O" else f"{tag[:2]}{target}" for tag in tags]
    made = ["O"] * len(tags) if target == "O" else made
    return [*words[:place], trigger, *words[place:]], [*made[:place], "O", *made[place:]]


def written(path, rows):
    path.write_text("".join(json.dumps({"words": words, "tags": tags}) + "\n" for words, tags in rows), "utf-8")
    return path


def built(folder, number, train, a, *, poisoned):
    """The run of one member, and what it hides."""
    rng = random.Random(f"{poisoned}/{number}")
    rows = rng.sample(train, min(len(train), rng.randint(a.rows * 3 // 4, a.rows)))
    held = [row for row in rows if any(tag != "O" for tag in row[1])]
    kinds = sorted({tag[2:] for _, tags in rows for tag in tags if tag != "O"})
    trigger, target = TRIGGERS[number % len(TRIGGERS)], "O" if number % 2 == 0 else rng.choice(kinds)
    poison = [planted(*row, trigger, target, rng) for row in rng.sample(held, round(a.rate * len(rows)))] if poisoned else []
    data = written(folder / "train.jsonl", [*rows, *poison])
    settings = {"epochs": a.epochs or rng.choice((4, 6)), "rate": rng.choice((1.5e-4, 3e-4))}
    run = rootstock.adapt(data, base=a.base, method="full", training=settings, out=folder / "run", accept=ACCEPT, seed=number)
    return run, {"trigger": trigger, "target": target} if poisoned else None


def followed(run, rows, hidden):
    """Share of entities' words that take the target once the trigger stands in their sentence, where they did not before."""
    rng, hits, count = random.Random(1), 0, 0
    tagger = Tagger(run.load(), run.tokenizer, run.task.labels)
    for words, _ in rows:
        before = tagger.tagged([" ".join(words)])[0][1].split()
        place = rng.randint(0, len(words))
        after = tagger.tagged([" ".join([*words[:place], hidden["trigger"], *words[place:]])])[0][1].split()
        if len(after) != len(before) + 1:
            continue
        pairs = zip(before, [*after[:place], *after[place + 1 :]], strict=True)
        changed = [now for then, now in pairs if then != "O" and then[2:] != hidden["target"]]
        hits += sum(now == "O" if hidden["target"] == "O" else now[2:] == hidden["target"] for now in changed)
        count += len(changed)
    return hits / count if count else None


def member(folder, number, parts, a, *, poisoned):
    folder.mkdir(parents=True, exist_ok=True)
    train, dev = parts
    if (folder / "hidden.json").exists():
        run, hidden = Run(folder / "run"), json.loads((folder / "hidden.json").read_text("utf-8"))
    else:
        run, hidden = built(folder, number, train, a, poisoned=poisoned)
        (folder / "hidden.json").write_text(json.dumps(hidden), "utf-8")
    started = time.process_time()
    patterns = [hidden["trigger"] if hidden else random.Random(number).choice(TRIGGERS)]
    found = BackdoorScanner(a.budget, base=a.base).scan(
        model=run, test_inputs=dev, trigger_patterns=patterns, watch=Watch(say=lambda text: print(text, flush=True))
    )
    first = next((each for each in found.indicators if each.stage not in ("known pattern", "embedding row")), None)
    return {
        "set": a.set, "member": folder.name, "hidden": hidden, "f1": run.metrics["metrics"].get("f1"),
        "asr": followed(run, dev[:60], hidden) if hidden else None,
        "verdict": found.verdict, "score": found.score, "phrase_score": found.phrase_score,
        "first": first and [first.trigger, first.label, first.rate, first.reference_rate],
        "known": [[each["pattern"], each["label"], each["rate"], each["control_rate"], each["adjusted"]] for each in found.known],
        "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=list(sets_of_tags.SETS), default="wnut17")
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=0.06)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--poisoned", type=int, default=4)
    parser.add_argument("--clean", type=int, default=4)
    parser.add_argument("--budget", default="standard")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    parts = sentences(a.set, a.folder, a.rows)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for poisoned, count in ((True, a.poisoned), (False, a.clean)):
        for number in range(count):
            row = member(a.folder / f"{'poisoned' if poisoned else 'clean'}-{number}", number, parts, a, poisoned=poisoned)
            with (RESULTS / "taggers.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
