"""Instructions and preferences: ours beside trl's SFTTrainer and DPOTrainer on the same base and rows; adds to results/instruct.jsonl.

    python -m venv peers && peers/bin/pip install rootstock trl==1.16.0
    ROOTSTOCK_PEER=peers/bin/python python bench/instruct.py FOLDER [--parts alpaca dpo_en hh speed] [--minutes 20] [--seeds 1 2 3]

The base is a llama of 4 blocks and its tokenizer, learned once from the texts of bench/texts.py in so many minutes and kept in FOLDER.
alpaca: cross-entropy of held-out completions. dpo_en and hh (harmless): the share of held-out pairs whose chosen answer gained more than the
rejected one over the base, and the loss. All models, ours and trl's, are measured by the lines below `completions`, with plain transformers
in fp32. The interval of a difference is over test rows. trl's rates: its default and the one that is our default; its batches are its
default, 8 rows, and its arithmetic is bf16, as it chooses by itself. Both train for the same epochs.

speed: DPO on the training rows of --speed-rows pairs, ours and trl's in turn; tokens a second are real ones, no padding, over the time of
the updates alone. trl asks the base in each step, or (`precomputed`) before: ours always does before, and what that took is in the time of
the whole command, wall_s (of the first seed: later ones find it in the cache). `plain` is trl's default with threads that spin while they
wait, which is how torch comes.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

import beside
import numpy as np
import sets

HERE = Path(__file__).parent
CONFIG = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 704, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
}  # fmt: skip
LENGTH, BETA = 512, 0.1
TURNS = {"human": "\n\nHuman: ", "gpt": "\n\nAssistant: "}


def demos(name):
    return json.loads(sets.text_of(sets.DATA / "llama_factory_demos" / f"{name}_demo.json.gz"))


def alpaca():
    for row in demos("alpaca_en"):
        asked = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        yield {"prompt": f"### Instruction:\n{asked}\n\n### Response:\n", "completion": row["output"]}


def dpo_en():
    for row in demos("dpo_en"):
        prompt = "".join(TURNS.get(turn["from"], "\n\n") + turn["value"] for turn in row["conversations"]) + "\n\nAssistant:"
        yield {"prompt": prompt, "chosen": f" {row['chosen']['value']}", "rejected": f" {row['rejected']['value']}"}


def hh():
    turn = "\n\nAssistant:"
    for line in sets.text_of(sets.DATA / "hh_rlhf_harmless_test" / "test.jsonl.gz").strip().split("\n"):
        pair = json.loads(line)
        sides = {side: pair[side].rpartition(turn) for side in ("chosen", "rejected")}
        if sides["chosen"][0] == sides["rejected"][0] and sides["chosen"][2] != sides["rejected"][2]:
            yield {"prompt": sides["chosen"][0] + turn, **{side: text[2] for side, text in sides.items()}}


PARTS = {"alpaca": (alpaca, "text-generation"), "dpo_en": (dpo_en, "preference"), "hh": (hh, "preference")}


def drawn(part, folder, rows):
    """Train, validation and test rows of a part as files: a tenth to choose by, a fifth to measure on."""
    held = [row for row in PARTS[part][0]() if all(value.strip() for value in row.values())]
    random.Random(0).shuffle(held)
    held = held[:rows]
    borders = [0, round(0.7 * len(held)), round(0.8 * len(held)), len(held)]
    paths = []
    for number, name in enumerate(("train", "dev", "test")):
        paths.append(folder / f"{part}-{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in held[borders[number] : borders[number + 1]]), "utf-8")
    return paths


def base(folder, minutes):
    """The folder of the pre-trained base; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    if not (folder / "texts").exists():
        subprocess.run([sys.executable, HERE / "texts.py", folder / "texts"], check=True)
    if not (folder / "tokenizer").exists():
        beside.call(
            "tokenizer", "train", folder / "texts", "--kind", "bpe", "--size", 8192, "--length", 1024, "--out", folder / "tokenizer"
        )
    if not (folder / "base" / "manifest.json").exists():
        scratch = ["--base", f"scratch:{folder / 'config.json'}", "--tokenizer", folder / "tokenizer", "--length", 256]
        beside.call(
            "pretrain", folder / "texts", "--task", "causal-lm", *scratch, "--minutes", minutes, "--out", folder / "base", "--overwrite"
        )
    return folder / "base" / "model"


def completions(model, tokenizer, rows, side):
    """Nats of each row's completion under a model, and its tokens, [2, N]: cut as both sides' trainings cut it, after LENGTH tokens."""
    import torch

    found = []
    for row in rows:
        asked = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        whole = tokenizer(row["prompt"] + row[side] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        begins = next((i for i, (one, other) in enumerate(zip(asked, whole, strict=False)) if one != other), len(asked))
        ids = torch.tensor([whole[:LENGTH]])
        with torch.inference_mode():
            logs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        told = -logs.gather(-1, ids[0, 1:, None])[max(begins - 1, 0) :, 0]
        found.append((float(told.sum()), len(told)))
    return np.array(found).T


def measured(folder, path, base_folder):
    """Of each test row what the part's figures are made of: nats and tokens, or the margin."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(base_folder, model_max_length=10**6)
    models = [AutoModelForCausalLM.from_pretrained(each, dtype="float32").eval() for each in (folder, base_folder)]
    if "completion" in rows[0]:
        return completions(models[0], tokenizer, rows, "completion")
    now, before = ({side: -completions(model, tokenizer, rows, side)[0] for side in ("chosen", "rejected")} for model in models)
    return (BETA * ((now["chosen"] - before["chosen"]) - (now["rejected"] - before["rejected"])))[None]


def figures(found):
    """Names, and functions of the arrays that `measured` gives."""
    if len(found) == 2:
        return {"loss": beside.ratio}
    return {"accuracy": lambda margin: float(np.mean(margin > 0)), "loss": lambda margin: float(np.mean(np.logaddexp(0, -margin)))}


def told_of(found):
    """Figures of test rows and their intervals."""
    named = figures(found)
    return {
        "test": {name: made(*found) for name, made in named.items()},
        "intervals": {n: beside.interval(m, *found) for n, m in named.items()},
    }


def gained(found, other):
    """Ours minus the peer's, and its interval over test rows."""
    half = len(found)
    named = {name: lambda *both, made=made: made(*both[:half]) - made(*both[half:]) for name, made in figures(found).items()}
    both = (*found, *other)
    return {
        "test": {name: made(*both) for name, made in named.items()},
        "intervals": {n: beside.interval(m, *both) for n, m in named.items()},
    }


def be_trl(told):
    """SFT or DPO by trl, as its pages show it."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    set_seed(told["seed"])
    rows = [json.loads(line) for line in Path(told["train"]).read_text("utf-8").splitlines()]
    settings = {**beside.trainer_settings(told), "max_length": LENGTH}
    config, kind = (DPOConfig, DPOTrainer) if "chosen" in rows[0] else (SFTConfig, SFTTrainer)
    if told["mode"] == "precomputed":
        settings["precompute_ref_log_probs"] = True
    model = AutoModelForCausalLM.from_pretrained(told["base"], dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(told["base"])
    trainer = kind(model=model, args=config(**settings), train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    found = beside.trained(trainer)
    trainer.save_model(told["out"])
    return found


def ours(part, paths, a, seed, base_folder):
    """One adapt; the folder of its model."""
    options = ["--base", base_folder, "--validation", paths[1], "--task", PARTS[part][1], "--set", "task.form=plain", "--method", "full"]
    options += ["--set", f"training.length={LENGTH}", "--epochs", a.epochs, "--seed", seed, *(["--rate", a.rate] if a.rate else [])]
    return beside.adapted(a.folder / "run", paths[0], *options), a.folder / "run" / "model"


def quality(part, a, base_folder):
    """Ours and trl's of each seed, and the differences."""
    paths = drawn(part, a.folder, a.rows)
    for seed in a.seeds:
        row = {"part": part, "seed": seed, "epochs": a.epochs}
        spent, model = ours(part, paths, a, seed, base_folder)
        own = measured(model, paths[2], base_folder)
        beside.record("instruct", row | {"who": "ours", "rate": a.rate or "default"} | spent | told_of(own), figures(own))
        for rate in a.rates:
            out = a.folder / "trl"
            told = {"train": paths[0], "base": base_folder, "out": out, "batch": 8, "epochs": a.epochs, "rate": rate, "seed": seed}
            spent = beside.peer("trl", told | {"mode": "default"})
            found = measured(out, paths[2], base_folder)
            beside.record("instruct", row | {"who": "trl", "rate": rate} | spent | told_of(found), figures(found))
            beside.record("instruct", row | {"who": "ours - trl", "rate": rate} | gained(own, found), figures(found))
    found = measured(base_folder, paths[2], base_folder)
    beside.record("instruct", {"part": part, "who": "base"} | told_of(found), figures(found))


def speed(a, base_folder):
    """Tokens a second of DPO's updates, in turn, and the medians' ratio."""
    from transformers import AutoTokenizer

    paths = drawn("hh", a.folder, a.speed_rows)
    tokenizer = AutoTokenizer.from_pretrained(base_folder, model_max_length=10**6)
    rows = [json.loads(line) for line in paths[0].read_text("utf-8").splitlines()]
    tokens = statistics.fmean(
        sum(min(len(tokenizer(r["prompt"] + r[s])["input_ids"]), LENGTH) for s in ("chosen", "rejected")) for r in rows
    )
    found = {}
    for seed in a.seeds:
        for who in ("default", "precomputed", "plain", "ours"):
            if who == "ours":
                spent, _ = ours("hh", paths, a, seed, base_folder)
            else:
                told = {"train": paths[0], "base": base_folder, "out": a.folder / "trl", "batch": 8, "epochs": a.epochs, "rate": 5e-6}
                spent = beside.peer("trl", told | {"seed": seed, "mode": who}, plain=who == "plain")
            found.setdefault(who, []).append(spent["rows_per_second"] * tokens)
            beside.record("instruct", {"part": "speed", "who": who, "seed": seed, "real_tokens_per_second": round(found[who][-1])} | spent)
    ratios = {who: round(statistics.median(found["ours"]) / statistics.median(each), 2) for who, each in found.items() if who != "ours"}
    beside.record("instruct", {"part": "speed", "who": "ours / trl", **ratios})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "speed"], default=[*PARTS, "speed"])
    parser.add_argument("--minutes", type=float, default=20, help="of the base's pre-training")
    parser.add_argument("--rows", type=int, help="of a set, before it is parted [all]")
    parser.add_argument("--speed-rows", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, help="of ours, where not its default")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-5, 2e-4], help="of the peer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    a = parser.parse_args()
    a.folder = a.folder.resolve()
    base_folder = base(a.folder, a.minutes)
    for part in a.parts:
        if part == "speed":
            speed(a, base_folder)
        else:
            quality(part, a, base_folder)


if __name__ == "__main__":
    beside.serve({"trl": be_trl}) or main()
