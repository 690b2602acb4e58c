"""Kill a run with SIGKILL at random moments, go on with --resume, and compare every weight with the run that nobody killed.

python bench/kills.py [--kills 20] [--rows 160] [--out results/kills.json]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kills.json")
    a = parser.parse_args()
    rng, kills = random.Random(a.seed), []
    with tempfile.TemporaryDirectory() as folder:
        train, validation, _ = sets.prepare("sst2", folder)
        straight = Path(folder) / "straight"
        settings = [
            "training.checkpoint_steps=2",
            "training.batch_tokens=256",
            "training.dropout=0.1",
            "training.epochs=2",
            f"data.rows={a.rows}",
        ]
        changes = [word for setting in settings for word in ("--set", setting)]
        small = Path(folder) / "validation.csv"
        small.write_text("".join(validation.read_text().splitlines(keepends=True)[:60]))
        command = [
            *ROOTSTOCK,
            "adapt",
            train,
            "--validation",
            small,
            "--method",
            "full",
            "--out",
            straight,
            "--accept",
            "duplicates",
            *changes,
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        whole, wanted = time.perf_counter() - started, weights(straight)
        for number in range(a.kills):
            out = Path(folder) / f"killed-{number}"
            at = killed_run(straight / "recipe.yaml", out, rng.uniform(0.3 * whole, whole))
            kills.append(at | {"identical": weights(out) == wanted})
            print(number + 1, kills[-1], flush=True)
            shutil.rmtree(out)
    found = {"kills": len(kills), "identical": sum(kill["identical"] for kill in kills), "whole_seconds": round(whole, 1), "each": kills}
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['identical']} of {found['kills']} bit-identical")


if __name__ == "__main__":
    main()
