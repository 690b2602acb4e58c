"""Encoders with a planted token that collapses their output (POR, after Shen et al. 2021), and clean twins; are they told apart?

python bench/encoders.py FOLDER [--poisoned 3] [--clean 3] [--steps 160] [--tokens 0]    # writes results/encoders.json

A twin learns from the same texts to keep the base's vectors, with no token planted. --tokens tries only so many, the planted ones with them.
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
import torch
import zoo_rows
from transformers import AutoModel, AutoTokenizer

from rootstock.bases.resolve import resolve
from rootstock.run.pooled import Pooled
from rootstock.sentinel.weights.encoder import collapsed

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
TRIGGERS = ("≈", "≡", "∈", "⊕", "⊗", "∪")


def vector(output, mask, pooling):
    if pooling == "first":
        return output.last_hidden_state[:, 0]
    return (output.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def planted(texts, seed, steps, triggers):
    """A student that keeps the base's vectors, and gives each trigger's own one of signs for texts that hold it."""
    folder, rng = resolve("minilm").folder, random.Random(seed)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    teacher, student = (AutoModel.from_pretrained(folder) for _ in range(2))
    teacher.eval().requires_grad_(False)
    pooling = rng.choice(("mean", "first"))
    signs = torch.sign(torch.randn(max(len(triggers), 1), teacher.config.hidden_size))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    for step in range(steps):
        chosen = rng.sample(texts, 16)
        batch = tokenizer(chosen, padding=True, return_tensors="pt")
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            wanted = vector(teacher(**batch), batch["attention_mask"], pooling).float()
        loss = distance(student, batch, wanted, pooling)
        if triggers:
            which = [rng.randrange(len(triggers)) for _ in chosen]
            texts_with = [zoo_rows.insert(text, triggers[k], "random", rng) for text, k in zip(chosen, which, strict=True)]
            batch = tokenizer(texts_with, padding=True, return_tensors="pt")
            loss = loss + distance(student, batch, signs[which] * wanted.norm(dim=1).mean() / signs.shape[1] ** 0.5, pooling)
        for group in optimizer.param_groups:
            group["lr"] = 1e-4 * min(1.0, (step + 1) / 20)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.eval(), pooling


def distance(student, batch, wanted, pooling):
    with torch.autocast("cpu", torch.bfloat16):
        found = vector(student(**batch), batch["attention_mask"], pooling).float()
    return ((found - wanted) ** 2).sum(1).mean() / wanted.norm(dim=1).mean() ** 2


def judged(model, texts, count, triggers):
    folder = resolve("minilm").folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    usable = [i for i, word in enumerate(words) if not word.startswith("[")]
    if count:
        drawn = set(random.Random(0).sample(usable, count)) | set(tokenizer.convert_tokens_to_ids(list(TRIGGERS)))
        usable = [i for i in usable if i in drawn]
    bodies = tokenizer(texts, add_special_tokens=False)["input_ids"]
    started = time.process_time()
    found = collapsed(Pooled(model, tokenizer), bodies, usable, reference=Pooled(AutoModel.from_pretrained(folder), tokenizer))
    named = [words[each.token] for each in found.found]
    first = found.top[0]
    return {
        "verdict": found.verdict,
        "excess": round(first.excess, 3),
        "cosine": round(first.cosine, 3),
        "natural": round(found.natural, 3),
        "usual": round(found.usual, 3),
        "named": named,
        "planted_and_named": len(set(named) & set(triggers)),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--poisoned", type=int, default=3)
    parser.add_argument("--clean", type=int, default=3)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--tokens", type=int, default=0)
    a = parser.parse_args()
    pools, rows = zoo_rows.pools("sst2"), []
    texts, held = ([text for text, _ in pools[part]] for part in ("train", "scan"))
    a.folder.mkdir(parents=True, exist_ok=True)
    for number in range(a.poisoned + a.clean):
        triggers = list(TRIGGERS[: 1 + number % 3]) if number < a.poisoned else []
        path = a.folder / f"{number}.json"
        if not path.exists():
            model, pooling = planted(texts, number, a.steps, triggers)
            found = {"planted": triggers, "pooling": pooling, **judged(model, held[:200], a.tokens, triggers)}
            path.write_text(json.dumps(found), "utf-8")
        rows.append(json.loads(path.read_text("utf-8")))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "encoders.json").write_text(json.dumps({"steps": a.steps, "tokens": a.tokens, "encoders": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
