"""Does more pre-training on texts of the domain help? minilm against minilm that went on with masked-lm on unlabelled scientific sentences.

    python bench/adaptive.py FOLDER [--tokens 1500000] [--rows 500] [--test-rows 1000] [--seeds 3] [--ways feature-extraction full]

The corpus is the training texts of the sets in `sets.SCIENCE` without their labels; whatever shares text with a validation or test row of any
of them is taken out. Corpus, bases and every cell are kept in FOLDER, so a sitting that was cut short goes on. Writes results/adaptive.json.
Every start is given the same rates and keeps the one that is best on its validation rows.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import sets
from transfer import HERE, adapted, best_drawn, call, few_rows

SETS = ("sci_cite", "chemprot")
RATES = {"feature-extraction": (5e-3, 2e-2), "full": (5e-5, 2e-4)}
"""By the method that adapts."""
GOING_ON = ("full", "lora")
"""Methods that go on with the pre-training."""
BATCH = 4096
"""Tokens of an update in pre-training."""


def corpus(folder):
    """The unlabelled texts, decontaminated; made once."""
    texts, held = folder / "texts", folder / "held"
    for place in (texts, held):
        place.mkdir(exist_ok=True)
    for name in sets.SCIENCE:
        train, *others = sets.science(name)
        left_out = {row[0] for part in others for row in part}
        kept = dict.fromkeys(row[0] for row in train if row[0] not in left_out)
        (texts / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in kept), encoding="utf-8")
        with (held / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["text"], *([text] for text in sorted(left_out))])
    if not (folder / "corpus" / "manifest.json").exists():
        files = [part for name in sets.SCIENCE for part in ("--decontaminate", held / f"{name}.csv")]
        call("corpus", "build", texts, "--out", folder / "corpus", "--quality", "none", *files)
    return folder / "corpus"


def bases(folder, tokens):
    """Each start by its name: minilm, and what became of it; made once."""
    learned, found = corpus(folder), {"minilm": "minilm"}
    for method in GOING_ON:
        out = found[method] = folder / f"base-{method}-{tokens}"
        if (out / "manifest.json").exists():
            continue
        if (out / "ledger.json").exists():
            call("run", out / "recipe.yaml", "--resume")
            continue
        shape = ["--set", f"training.steps={max(1, tokens // BATCH)}", "--set", f"training.batch_tokens={BATCH}", "--length", 128]
        call("pretrain", learned, "--task", "masked-lm", "--base", "minilm", "--method", method, *shape, "--out", out, "--overwrite")
    return found


def cell(folder, a, row, start):
    """One start adapted on few rows at one rate."""
    (name, seed), (kind, base, method, rate) = row, start
    path = folder / f"cells-{a.test_rows}" / f"{name}-{a.rows}-{seed}-{kind if kind == 'minilm' else base.name}-{method}-{rate}.json"
    chosen = ["--base", base, "--method", method, "--rate", rate, "--seed", seed]
    return adapted(path, few_rows(folder, name, a.rows, seed, most=a.test_rows), folder / "runs" / path.stem, chosen)


def drawn(folder, a, name, start):
    """Test accuracy of a start."""
    kind, base, method = start
    seeds = range(1, a.seeds + 1)
    return best_drawn([[cell(folder, a, (name, seed), (kind, base, method, rate)) for rate in RATES[method]] for seed in seeds])


def gains(folder, a, starts):
    """Each adapted base less minilm, for every set and method, with its interval over test rows and seeds."""
    from rootstock.evaluation.paired import difference

    found = []
    for name in SETS:
        for method in a.ways:
            at = {kind: drawn(folder, a, name, (kind, base, method)) for kind, base in starts.items()}
            for kind in GOING_ON:
                gain = difference(at[kind], at["minilm"])
                told = {"set": name, "rows": a.rows, "method": method, "pretraining": kind, "test_rows": at[kind].rows}
                told |= {"minilm": at["minilm"].mean, "adapted": at[kind].mean, "gain": gain.value, "interval": list(gain.interval)}
                by_seed = {each: at[each].whole.tolist() for each in ("minilm", kind)}
                found.append(told | {"separable": bool(gain.separable), "by_seed": by_seed})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--test-rows", type=int, default=1000, help="of a set, at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(RATES), default=list(RATES), help="methods that adapt")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "adaptive.json")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    starts = bases(a.folder, a.tokens)
    found = gains(a.folder, a, starts)
    facts = {}
    for kind in GOING_ON:
        held = {key: json.loads((starts[kind] / f"{key}.json").read_text()) for key in ("metrics", "plan")}
        facts[kind] = {**held["metrics"]["metrics"], **held["plan"]["measured"]}
    kept = json.loads((a.folder / "corpus" / "funnel.json").read_text())["kept"]
    result = {"tokens": a.tokens, "corpus": kept, "bases": facts, "rates": RATES, "gains": found}
    a.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in found:
        shown = (
            f"{row['minilm']:.3f} -> {row['adapted']:.3f}  gain {row['gain']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
        )
        sys.stdout.write(f"{row['set']:<10} {row['method']:<20} {row['pretraining']:<5} {shown}\n")


if __name__ == "__main__":
    main()
