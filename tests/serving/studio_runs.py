"""A folder of runs for the studio: three tiny ones that label, tag and write; one that grows, one that is worse, and a model alone."""

import json
import shutil
from contextlib import suppress

import pytest
from tests.conftest import make_base, make_tokenizer, rows_of, write_csv
from tests.serving import crafted

import rootstock
from rootstock.cli.main import main
from rootstock.methods.lora import LoRA
from rootstock.tasks.question_answering import QuestionAnswering

ASKED = "a dull book"
"""To which writes/ writes something."""
HISTORY = {"event": "step", "epoch": 0.5, "rate": 0.001, "tokens": 10, "rows": 2, "seconds": 0.1, "progress": 0.5}


def made(top, base):
    """labels/, tags/, writes/; growing/, which has not ended; slower/, which labels/ beats in both; spans/, a model alone."""
    root, quick = top / "runs", {"epochs": 1, "rate": 3e-3, "batch_tokens": 128, "precision": "fp32"}
    write_csv(top / "rows.csv", rows_of(120))
    rootstock.adapt(top / "rows.csv", base=str(base), method="full", out=root / "labels", training=quick | {"epochs": 4}, seed=1)
    tagged = [(text.split(), ["B-THING" if word in ("film", "book", "song") else "O" for word in text.split()]) for text, _ in rows_of(30)]
    lines = [json.dumps({"tokens": words, "tags": tags}) for words, tags in tagged]
    (top / "tags.jsonl").write_text("\n".join(lines))
    small = quick | {"epochs": 12, "batch_tokens": 32}
    rootstock.adapt(top / "tags.jsonl", base=str(base), method="full", out=root / "tags", training=small, seed=1)
    writer = make_base(top / "writer", "llama")
    tokens = make_tokenizer()
    tokens.eos_token = "[SEP]"
    tokens.save_pretrained(writer)
    asked = [{"prompt": text, "completion": f" {text.split()[-1]} {text.split()[0]}"} for text, _ in rows_of(30)]
    (top / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)))
    rootstock.adapt(top / "asked.jsonl", base=str(writer), method="full", out=root / "writes", training=quick | {"epochs": 12}, seed=1)
    (root / "growing").mkdir()
    for name in ("recipe.yaml", "ledger.json"):
        shutil.copy(root / "labels" / name, root / "growing" / name)
    grow(root, 3)
    scanned(top / "rows.csv", base, root / "labels" / "poisoning.html")
    worse(shutil.copytree(root / "labels", root / "slower"))
    crafted.model(root / "spans", base, QuestionAnswering(text="question", text_pair="passage", no_answer="no"), LoRA(), seed=1)
    return root


def worse(run):
    """The run's own figures told otherwise: ten times as long, and less accurate."""
    for name, change in (
        ("plan.json", lambda held: held["measured"].update(seconds=10 * held["measured"]["seconds"])),
        ("metrics.json", lambda held: held["metrics"].update(accuracy=held["metrics"]["accuracy"] / 2)),
    ):
        held = json.loads((run / name).read_text())
        change(held)
        (run / name).write_text(json.dumps(held))


def scanned(rows, base, page):
    """The rows of a run, looked at by the verb itself; what it found lies beside the run."""
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("sys.argv", ["rootstock", "scan", str(rows), "--poisoning", "--base", str(base), "--report", str(page)])
        main()


def grow(root, steps):
    events = [HISTORY | {"step": step, "loss": 1 / step} for step in range(1, steps + 1)]
    (root / "growing" / "history.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
