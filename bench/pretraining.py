"""Pre-training beside transformers' Trainer, alternating in one sitting: tokens a second, loss, memory, share of the machine's best product.

Writes results/pretraining.json.

    python bench/pretraining.py [--tasks masked-lm causal-lm] [--pairs 3] [--steps 12] [--bf16]

Same size (4 layers of 256), same tokenizer, blocks of 128 tokens, 32 of them in an update, the same rate.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rootstock.bases.resolve import resolve
from run import HERE, ROOTSTOCK, peer

BLOCK, BATCH, RATE = 128, 32, 5e-4
SHAPES = {
    "masked-lm": {
        "model_type": "bert", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
        "max_position_embeddings": 512,
    },
    "causal-lm": {
        "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 682, "max_position_embeddings": 128, "tie_word_embeddings": True,
    },
}  # fmt: skip


GUESSED = {"masked-lm": 0.15, "causal-lm": 1.0}
"""Share of the positions that go through the output layer."""


def work(task, vocabulary):
    """Operations of a token, forward and backward: six for each weight of a product that it passes. Embeddings are looked up; attention's
    own products are left out."""
    shape = SHAPES[task]
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    block = 4 * width**2 + (2 if shape["model_type"] == "bert" else 3) * width * inner
    head = vocabulary * width + (width**2 if shape["model_type"] == "bert" else 0)
    return 6 * (shape["num_hidden_layers"] * block + GUESSED[task] * head)


def ours(task, texts, folder, a):
    """One `rootstock pretrain`: its rate while training, mean loss of the steps, and peak memory."""
    config = folder / f"{task}.json"
    config.write_text(json.dumps(SHAPES[task]))
    settings = {"steps": a.steps, "batch_tokens": BLOCK * BATCH, "rate": RATE, "length": BLOCK, "precision": "bf16" if a.bf16 else "fp32"}
    sets = [part for key, value in settings.items() for part in ("--set", f"training.{key}={value}")]
    command = [*ROOTSTOCK, "pretrain", *texts, "--task", task, "--base", f"scratch:{config}", "--out", folder / "run", "--overwrite", *sets]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    measured = json.loads((folder / "run" / "plan.json").read_text())["measured"]
    events = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]
    loss = statistics.fmean(event["loss"] for event in events if event["event"] == "step" and event["loss"] is not None)
    memory = round(measured["peak_bytes"] / 2**20)
    return {"peer": f"rootstock-{task}", "tokens_per_s": measured["tokens_per_second"], "train_loss": round(loss, 4), "peak_rss_mb": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(SHAPES))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--bf16", action="store_true")
    a = parser.parse_args()
    out = HERE / "results" / "pretraining.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run([sys.executable, HERE / "texts.py", folder / "texts"], check=True)
        texts = [folder / "texts" / f"{name}.txt" for name in ("wiki", "c4")]
        tokenizer = resolve("minilm").folder
        vocabulary = len(json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
        for task in a.tasks:
            rows = []
            for seed in range(1, a.pairs + 1):
                common = ["--text", *texts, "--tokenizer", tokenizer, "--block", BLOCK, "--batch", BATCH, "--steps", a.steps, "--lr", RATE]
                rows.append(peer("pretrain_hf_trainer.py", "--task", task, *common, "--seed", seed, *(["--bf16"] if a.bf16 else [])))
                found = ours(task, texts, folder, a)
                gflops = found["tokens_per_s"] * work(task, vocabulary) / 1e9
                peak = peer("gemm_peak.py")
                best = peak["bfloat16_gflops" if a.bf16 else "float32_gflops"]
                rows += [peak, found | {"gflops": round(gflops, 1), "share_of_peak": round(gflops / best, 3)}]
                print(*rows[-3:], sep="\n", flush=True)
            results[task + ("-bf16" if a.bf16 else "")] = rows
            out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
