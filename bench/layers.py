"""Training above frozen blocks: what they give kept on disk against computed at each step, alternating; writes results/layers.json.

    python bench/layers.py [--pairs 3] [--rows 1500] [--precision auto] [--only top-layers gradual-unfreezing lora] [--repeat 1]

--repeat: minilm with each of its 6 blocks so often, one after the other, for bases of more blocks (lora then learns in two of the middle).
Each pair is three runs of three epochs in processes of their own: without the cache, with an empty one, and with what the one before
left. A rate counts the pass that fills the cache; the losses of all steps are compared.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import sets

HERE = Path(__file__).parent
EPOCHS = 3
METHODS = {
    "top-layers": ["--set", "method.blocks=2"],
    "gradual-unfreezing": ["--set", "method.blocks=2", "--set", "method.until=1"],
    "lora": ["--set", "method.layers=[4,5]"],
}
"""Of minilm's 6 blocks the upper two; they thaw one an epoch."""


def deeper(folder, times):
    """minilm with each block so many times, as a folder: blocks that see what such blocks see, though nobody trained them so."""
    from transformers import AutoModel, AutoTokenizer

    from rootstock.bases.resolve import resolve

    place = resolve("minilm").folder
    model, tokenizer = AutoModel.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    blocks = model.encoder.layer
    model.encoder.layer = type(blocks)(copy.deepcopy(block) for block in blocks for _ in range(times))
    model.config.num_hidden_layers = len(model.encoder.layer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(data, out, method, options, environment):
    """One training: losses by step, and rows a second with the pass that fills the cache counted."""
    command = [sys.executable, "-m", "rootstock", "adapt", data, "--method", method, "--out", out, "--overwrite", "--epochs", EPOCHS]
    subprocess.run([*map(str, [*command, *METHODS[method], *options])], check=True, capture_output=True, env=environment)
    events = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    plan = json.loads((out / "plan.json").read_text())
    ahead = plan["predicted"].get("layers", {}).get("seconds", 0.0)
    rows, seconds = sum(step["rows"] for step in steps), sum(step["seconds"] for step in steps)
    return [step["loss"] for step in steps], {
        "rows": rows,
        "seconds": seconds,
        "ahead": ahead,
        "rows_per_s": round(rows / (seconds + ahead), 1),
    }


def pairs(a, method, folder):
    """Rates of all runs of a method, and the largest difference between losses of one step."""
    data, found, most = Path(folder) / "rows.tsv", [], 0.0
    base = ["--base", deeper(Path(folder) / "base", a.repeat)] if a.repeat > 1 else []
    data.write_text("\n".join(sets.text_of(sets.DATA / "sst2" / "train.tsv.gz").split("\n")[: a.rows]) + "\n")
    for number in range(a.pairs):
        environment = os.environ | {"ROOTSTOCK_CACHE": str(Path(folder) / f"cache-{number}")}
        losses = {}
        for how, kept in (("without", "no"), ("first", "yes"), ("again", "yes")):
            more = [*base, "--set", f"training.cache_layers={kept}", "--set", f"training.precision={a.precision}", "--seed", str(number)]
            losses[how], told = run(data, Path(folder) / "run", method, more, environment)
            found.append({"how": how, **told})
            print(json.dumps({"method": method, **found[-1]}), flush=True)
        most = max([most, *(abs(x - y) for how in ("first", "again") for x, y in zip(losses["without"], losses[how], strict=True))])
    rates = {how: statistics.median(each["rows_per_s"] for each in found if each["how"] == how) for how in ("without", "first", "again")}
    print(
        f"{method}: {rates}, ratio {rates['first'] / rates['without']:.2f} and {rates['again'] / rates['without']:.2f}, losses to {most:.1e}"
    )
    return {"runs": found, "rates": rates, "largest_difference": most}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results")) / "layers.json")
    a = parser.parse_args()
    held = json.loads(a.out.read_text()) if a.out.exists() else {"parts": {}}
    for method in a.only:
        with tempfile.TemporaryDirectory() as folder:
            part = a.precision if a.repeat == 1 else f"{a.precision}, {6 * a.repeat} blocks"
            held["parts"].setdefault(part, {})[method] = pairs(a, method, folder) | {"rows": a.rows}
            held["load"] = round(statistics.fmean(os.getloadavg()), 2)
            a.out.write_text(json.dumps(held, indent=1) + "\n")  # what is measured stays, whatever becomes of the next method


if __name__ == "__main__":
    main()
