"""English to German from nothing, in so many minutes: ours beside transformers' Seq2SeqTrainer; adds to results/translate.jsonl.

    python bench/translate.py FOLDER [--minutes 30] [--config scratch:t5-tiny] [--seeds 1] [--rates 1e-3 5e-4] [--rows 29000]

multi30k. Both have the tokenizer that is learned from the training text, the architecture's config as our run writes it, and random weights.
Ours has the minutes for the whole run, loading and measuring included, the peer for its updates alone. The peer's number of updates is worked out from the time that twenty of them take, so that its schedule ends when
its minutes do; its batches are 64 rows of like length, in bf16, and its rates ours and half of it: the example's defaults (8 rows, 5e-5)
learn nothing in this time. Both write greedily; BLEU is sacrebleu's on test2016, its interval from a thousand resamples.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

import beside
import sets

PARTS = {"train": "train", "val": "val", "test": "test_2016_flickr"}


def prepared(folder, most):
    """Both languages of each part as files of a text a line; a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in PARTS.items():
        for language in ("en", "de"):
            lines = gzip.decompress((sets.DATA / "multi30k" / f"{name}.{language}.gz").read_bytes()).decode().strip().split("\n")
            (folder / f"{part}.{language}.txt").write_text("\n".join(lines[: most.get(part)]) + "\n", "utf-8")
    if not (folder / "tokenizer").exists():
        texts = [folder / f"train.{language}.txt" for language in ("en", "de")]
        beside.call("tokenizer", "train", *texts, "--kind", "unigram", "--size", 8000, "--out", folder / "tokenizer")
    return {part: f"{folder / part}.en.txt+{folder / part}.de.txt" for part in PARTS}


def be_trainer(told):
    """What the translation example does, from a config; BLEU of what it writes."""
    import sacrebleu
    from datasets import Dataset
    from transformers import (
        AutoConfig,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        TrainerCallback,
        set_seed,
    )

    class Clock(TrainerCallback):
        """Stops where the minutes are over."""

        def on_train_begin(self, args, state, control, **_):
            self.started = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            control.should_training_stop |= time.perf_counter() - self.started > told["minutes"] * 60

    tokenizer = AutoTokenizer.from_pretrained(told["tokenizer"])
    config = AutoConfig.from_pretrained(told["config"])

    def rows(part):
        texts = [(Path(told["folder"]) / f"{part}.{language}.txt").read_text("utf-8").strip().split("\n") for language in ("en", "de")]
        return texts, Dataset.from_dict({**tokenizer(texts[0]), "labels": tokenizer(text_target=texts[1])["input_ids"]})

    def trainer(steps):
        set_seed(told["seed"])
        model = AutoModelForSeq2SeqLM.from_config(config)
        settings = {**beside.trainer_settings(told), "per_device_eval_batch_size": 64, "predict_with_generate": True, "max_steps": steps}
        settings |= {"generation_max_length": 128, "warmup_steps": steps // 10, "generation_num_beams": 1}
        collate = DataCollatorForSeq2Seq(tokenizer, model=model)
        args = Seq2SeqTrainingArguments(**settings)
        return Seq2SeqTrainer(
            model=model, args=args, train_dataset=train, data_collator=collate, processing_class=tokenizer, callbacks=[Clock()]
        )

    train, ((_, truth), test) = rows("train")[1], rows("test")
    trainer(20).train()  # the first steps make what later ones find: by their pace the schedule would end after two thirds of the time
    started = time.perf_counter()
    trainer(60).train()
    each = (time.perf_counter() - started) / 60
    steps = max(1, int(told["minutes"] * 60 / each))
    learner = trainer(steps)
    started = time.perf_counter()
    learner.train()
    spent = time.perf_counter() - started
    ids = beside.predicted(learner, test).predictions
    written = tokenizer.batch_decode([[i for i in row if i >= 0] for row in ids.tolist()], skip_special_tokens=True)
    made = sacrebleu.BLEU().corpus_score(written, [truth], n_bootstrap=1000)
    return {
        "test": {"bleu": made.score, "chrf": sacrebleu.CHRF().corpus_score(written, [truth]).score},
        "intervals": {"bleu": [round(made._mean - made._ci, 2), round(made._mean + made._ci, 2)]},
        "training_s": round(spent, 1),
        "steps": learner.state.global_step,
        "planned_steps": steps,
        "rows_per_second": round(learner.state.global_step * told["batch"] / spent, 1),
        "example": written[0][:100],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--config", default="scratch:t5-tiny")
    parser.add_argument("--rows", type=int, default=29_000)
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--epochs", type=float, default=1000, help="of ours, at most")
    parser.add_argument("--rate", type=float, help="of ours, where not its default")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 5e-4], help="of the peer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", nargs="*", default=[], help="more of our recipe, such as training.dropout=0.1")
    a = parser.parse_args()
    a.folder = a.folder.resolve()
    files = prepared(a.folder, {"train": a.rows, "test": a.test_rows})
    for seed in a.seeds:
        row = {"config": a.config, "minutes": a.minutes, "rows": a.rows, "seed": seed}
        out = a.folder / "run"
        options = ["--base", a.config, "--set", f"tokenizer={a.folder / 'tokenizer'}", "--task", "text-to-text", "--method", "full"]
        options += ["--text", "en", "--label", "de", "--validation", files["val"], "--seed", seed, "--minutes", a.minutes]
        options += ["--epochs", a.epochs, *(["--rate", a.rate] if a.rate else []), *(word for each in a.set for word in ("--set", each))]
        found = beside.adapted(out, files["train"], *options) | beside.evaluated(out, files["test"])
        steps = json.loads((out / "plan.json").read_text())["measured"]["steps"]
        beside.record("translate", row | {"who": "ours", "set": a.set, "steps": steps} | found, ("bleu", "chrf"))
        for rate in a.rates:
            told = {"folder": a.folder, "tokenizer": a.folder / "tokenizer", "config": out / "model", "minutes": a.minutes}
            told |= {"batch": 64, "epochs": 1, "rate": rate, "seed": seed, "mode": "tuned"}
            beside.record("translate", row | {"who": "trainer", "rate": rate} | beside.peer("trainer", told), ("bleu", "chrf"))


if __name__ == "__main__":
    beside.serve({"trainer": be_trainer}) or main()
