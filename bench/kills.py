"""Kill a run with SIGKILL at random moments, go on with --resume, and compare every weight with the run that nobody killed.

python bench/kills.py [--verb adapt] [--kills 20] [--rows 160] [--out results/kills.json]

adapt fine-tunes minilm on rows of SST-2; pretrain teaches a bert-tiny masked-lm on stdlib-docs. --rows counts rows, or documents; results of
pretrain go to results/kills-pretrain.json.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sets

ROOTSTOCK = [sys.executable, "-m", "rootstock"]


def weights(run):
    from safetensors.numpy import load_file

    return {name: array.tobytes() for path in sorted((run / "model").glob("*.safetensors")) for name, array in load_file(path).items()}


def history_lines(run):
    path = run / "history.jsonl"
    return path.read_text().count('"event": "step"') if path.exists() else 0


def killed_run(recipe, out, seconds):
    """Start the run, kill it after so many seconds, and go on until it ends; returns steps done at each kill."""
    process = subprocess.Popen([*ROOTSTOCK, "run", recipe, "--out", out], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    at = {
        "seconds": round(seconds, 2),
        "ended_before": ended,
        "steps": history_lines(out),
        "checkpoints": len(list(out.glob("checkpoints/step-*"))),
    }
    again = ["--resume"] if (out / "recipe.yaml").exists() else ["--out", out, "--overwrite"]
    command = [*ROOTSTOCK, "run", out / "recipe.yaml" if again == ["--resume"] else recipe, *again]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return at


def settings(**values):
    """Settings as options, with checkpoints close to one another."""
    values = {"checkpoint_steps": 2, **values}
    return [word for key, value in values.items() for word in ("--set", f"training.{key}={value}")]


def adaptation(folder, a):
    """A fine-tuning of some seconds."""
    train, validation, _ = sets.prepare("sst2", folder)
    small = folder / "validation.csv"
    small.write_text("".join(validation.read_text().splitlines(keepends=True)[:60]))
    more = settings(batch_tokens=256, dropout=0.1, epochs=2)
    return ["adapt", train, "--validation", small, "--method", "full", "--accept", "duplicates", "--set", f"data.rows={a.rows}", *more]


def pretraining(folder, a):
    """A pre-training of some seconds, its masks drawn anew in each epoch."""
    import pyarrow as pa
    from pyarrow import parquet

    from rootstock.data import stdlib_docs

    texts = stdlib_docs.rows().column("text").to_pylist()
    parquet.write_table(pa.table({"text": random.Random(0).sample(texts, a.rows)}), folder / "documents.parquet")
    more = settings(batch_tokens=512, dropout=0.1, epochs=4)
    return ["pretrain", folder / "documents.parquet", "--base", "scratch:bert-tiny", "--validation", 0.1, "--length", 64, *more]


VERBS = {"adapt": adaptation, "pretrain": pretraining}


def killed(verb, a):
    """All kills of a verb, each with whether its weights are those of the run that nobody killed."""
    rng, kills = random.Random(a.seed), []
    with tempfile.TemporaryDirectory() as held:
        folder, straight = Path(held), Path(held) / "straight"
        command = [*ROOTSTOCK, *map(str, VERBS[verb](folder, a)), "--out", straight]
        started = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        whole, wanted = time.perf_counter() - started, weights(straight)
        for number in range(a.kills):
            out = folder / f"killed-{number}"
            at = killed_run(straight / "recipe.yaml", out, rng.uniform(0.3 * whole, whole))
            kills.append(at | {"identical": weights(out) == wanted})
            print(verb, number + 1, kills[-1], flush=True)
            shutil.rmtree(out)
    return {"kills": len(kills), "identical": sum(kill["identical"] for kill in kills), "whole_seconds": round(whole, 1), "each": kills}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verb", choices=sorted(VERBS), default="adapt")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    out = a.out or Path(__file__).parent / "results" / ("kills.json" if a.verb == "adapt" else f"kills-{a.verb}.json")
    found = {"verb": a.verb, **killed(a.verb, a)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['identical']} of {found['kills']} bit-identical")


if __name__ == "__main__":
    main()
