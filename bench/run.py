"""Ours beside the peers, alternating in one sitting; writes results/performance.json and the table in docs/performance.md.

    python bench/run.py [--only answers peak full lora busy features predict] [--pairs 3] [--rows 1500]

The peers are the scripts in the folder named by ROOTSTOCK_PEERS; they run unmodified, each in a process of its own, as ours do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sets
import table

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("ROOTSTOCK_PEERS", Path(__file__).parents[2] / "shared" / "bench"))
SST2 = sets.DATA / "sst2"
ROOTSTOCK = [sys.executable, "-m", "rootstock"]


def peer(script, *arguments):
    """A peer's own figures: its last line of JSON. It gets a plain environment."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "MALLOC_"))}
    done = subprocess.run([sys.executable, PEERS / script, *map(str, arguments)], capture_output=True, text=True, check=True, env=plain)
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def ours(data, validation, method, out, *options):
    """One `rootstock adapt`: rows a second while training, accuracy, and the wall time of the whole command."""
    command = [*ROOTSTOCK, "adapt", data, "--validation", validation, "--method", method, "--out", out, "--overwrite", "--json", *options]
    started = time.perf_counter()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - started
    measured = json.loads((Path(out) / "plan.json").read_text())["measured"]
    accuracy = json.loads(done.stdout)["metrics"]["accuracy"]
    rates = {"samples_per_s": measured["rows_per_second"], "tokens_per_s": measured["tokens_per_second"]}
    return {
        "peer": f"rootstock-{method}",
        **rates,
        "accuracy": round(accuracy, 4),
        "wall_s": round(wall, 2),
        "peak_rss_mb": measured["peak_bytes"] // 2**20,
    }


def first_rows(count, folder):
    """The first rows of SST-2's training file, as the peers' --rows takes them."""
    path = Path(folder) / f"sst2-{count}.tsv"
    path.write_text("\n".join(sets.text_of(SST2 / "train.tsv.gz").split("\n")[:count]) + "\n")
    return path


def training(a, folder, method):
    """Three epochs a seed: rates and accuracies of ours and of the peer's two modes, alternating."""
    data, dev, lora = first_rows(a.rows, folder), SST2 / "dev.tsv", ["--lora"] if method == "lora" else []
    rows = []
    for seed in range(1, a.pairs + 1):
        common = ["--train", data, "--dev", dev, "--epochs", 3, "--seed", seed]
        rows += [peer("finetune_hf_trainer.py", "--mode", mode, *common, *lora) for mode in ("default", "tuned")]
        rows.append(ours(data, dev, method, Path(folder) / "run", "--seed", seed, "--epochs", 3))
    return rows


def busy(a, folder):
    """The same beside one process that never rests."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        data, dev, rows = first_rows(a.rows // 4, folder), SST2 / "dev.tsv", []
        for _ in range(2):
            rows.append(
                peer("finetune_hf_trainer.py", "--mode", "default", "--train", data, "--dev", dev, "--epochs", 1)
                | {"peer": "hf-trainer-default-busy"}
            )
            rows.append(ours(data, dev, "full", Path(folder) / "run", "--epochs", 1) | {"peer": "rootstock-full-busy"})
        return rows
    finally:
        neighbour.kill()
        neighbour.wait()


def features(a, folder):
    """The whole command against sentence-transformers with logistic regression; then the same rows again, from the cache."""
    from_cache = dict(os.environ)
    rows = []
    for number in range(min(a.pairs, 2)):
        os.environ["ROOTSTOCK_CACHE"] = str(Path(folder) / f"cache-{number}")
        started = time.perf_counter()
        found = peer("predict_peers.py", "--peer", "sbert", "--texts", SST2 / "test.tsv", "--train", SST2 / "train.tsv.gz")
        rows.append(found | {"wall_s": round(time.perf_counter() - started, 2), "predict_s": round(1821 / found["samples_per_s"], 2)})
        first = ours(SST2 / "train.tsv.gz", SST2 / "test.tsv", "feature-extraction", Path(folder) / "run")
        rows.append(first | {"peer": "rootstock-features"})
        rows += [
            ours(SST2 / "train.tsv.gz", SST2 / "test.tsv", "feature-extraction", Path(folder) / "run")
            | {"peer": "rootstock-features-cached"}
            for _ in range(2)
        ]
    os.environ.clear()
    os.environ.update(from_cache)
    return rows


def prediction(a, folder):
    """Rows a second over a file, the model being loaded; each peer labels as many rows as it can in some ten seconds."""
    ours(first_rows(200, folder), SST2 / "dev.tsv", "full", Path(folder) / "run", "--epochs", 1, "--set", "training.length=128")
    model, texts, rows = Path(folder) / "run" / "model", SST2 / "test.tsv", []
    for _ in range(min(a.pairs, 2)):
        rows.append(peer("predict_peers.py", "--peer", "loop", "--model", model, "--texts", texts, "--rows", 200))
        rows += [
            peer("predict_peers.py", "--peer", "pipeline", "--model", model, "--texts", texts, "--rows", 400, "--batch", n)
            for n in (1, 8, 32, 64)
        ]
        rows += [
            peer("predict_peers.py", "--peer", "pipeline", "--model", model, "--texts", texts, "--rows", 800, "--batch", n, "--bf16")
            for n in (8, 32, 64)
        ]
        command = [*ROOTSTOCK, "predict", Path(folder) / "run", "--file", texts, "--out", Path(folder) / "labelled.csv"]
        said = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stderr
        rate = float(said.split("(")[1].split(" rows/s")[0].replace(",", ""))
        rows.append({"peer": "rootstock-predict", "samples_per_s": rate})
    return rows


def peak(a, folder):
    """Training on rows of 128 tokens, as a share of the machine's best matrix product."""
    words = "film story actor plot scene music light voice camera ending"
    lines = [f"{' '.join(words.split()[(i + j) % 10] for j in range(126))}\t{i % 2}" for i in range(480)]
    path = Path(folder) / "long.tsv"
    path.write_text("\n".join(lines) + "\n")
    rows = []
    for _ in range(2):
        rows.append(peer("gemm_peak.py"))
        found = ours(
            path, SST2 / "dev.tsv", "full", Path(folder) / "run", "--epochs", 1, "--accept", "contradictions", "--accept", "duplicates"
        )
        rows.append(found | {"peer": "rootstock-128-tokens", "gflops": round(6 * 10_646_784 * found["tokens_per_s"] / 1e9, 1)})
    return rows


def answers(a, folder):
    """Seconds of the commands that only tell what there is, as a person waits for them; the first call is left out."""
    rows = []
    for verb in ("--help", "tasks", "methods"):
        for number in range(8):
            started = time.perf_counter()
            subprocess.run([Path(sys.executable).with_name("rootstock"), verb], capture_output=True, check=True)
            if number:
                rows.append({"peer": f"rootstock {verb}", "wall_s": round(time.perf_counter() - started, 3)})
    return rows


PARTS = {
    "answers": answers,
    "peak": peak,
    "full": lambda a, f: training(a, f, "full"),
    "lora": lambda a, f: training(a, f, "lora"),
    "busy": busy,
    "features": features,
    "predict": prediction,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "performance.json")
    a = parser.parse_args()
    held = json.loads(a.out.read_text()) if a.out.exists() else {"parts": {}}
    a.out.parent.mkdir(parents=True, exist_ok=True)
    for part in a.only:
        with tempfile.TemporaryDirectory() as folder:
            print(f"== {part}", flush=True)
            held["parts"][part] = PARTS[part](a, folder)
            for row in held["parts"][part]:
                print(json.dumps(row), flush=True)
        held["load"] = round(statistics.fmean(os.getloadavg()), 2)
        a.out.write_text(json.dumps(held, indent=1) + "\n")
    table.write(a.out)


if __name__ == "__main__":
    main()
