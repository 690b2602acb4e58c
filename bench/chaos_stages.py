"""What the faults of chaos.py are tried on: small texts, a command for each stage, and what of its outcome must be the same bit for bit."""

import csv
import hashlib
import json
import os
import random
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import words
from chaos_forked import Child

HERE = Path(__file__).parent
SPENT = re.compile(r"second|wall|bytes|spent|per_|limit|minutes|cost|time|peak|hours|plan$|hardware|faster|out$|run$|figure_of")
"""Names of figures that no two runs share."""
_QUICK = {"training.batch_tokens": 512, "training.checkpoint_steps": 2, "training.dropout": 0.1}


def texts(count, seed=0):
    """Short reviews whose label is the one word that tells."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        told = rng.choice(words.GOOD if number % 2 else words.BAD)
        row = [rng.choice(words.OTHER) for _ in range(rng.randint(6, 14))]
        row.insert(rng.randrange(len(row)), told)
        rows.append((" ".join(row), "positive" if number % 2 else "negative"))
    return rows


def prepare(folder):
    """The files that the stages read."""
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for number in range(6):
        part = texts(120, seed=10 + number)
        (folder / "texts" / f"{number}.txt").write_text(
            "\n\n".join(" ".join(text for text, _ in part[at : at + 4]) + "." for at in range(0, 120, 4))
        )
    with (folder / "rows.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *texts(240)])
    place = folder / "GLUE" / "CoLA"
    place.mkdir(parents=True, exist_ok=True)
    for split, seed in (("train", 3), ("dev", 4)):
        rows = [("gj04", int(label == "positive"), "", text) for text, label in texts(80, seed)]
        (place / f"{split}.tsv").write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")


def settings(**more):
    return [word for key, value in (_QUICK | more).items() for word in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Stage:
    """line: the command, its folder left out. again: how it goes on where it was ended. kept: files that must be equal, as patterns."""

    line: list
    again: str
    kept: tuple[str, ...]


def stages(folder):
    """Each stage on what the undisturbed run of the one before it made."""
    straight, rows = folder / "straight", folder / "rows.csv"
    tuned = settings(**{"training.epochs": 2, "training.rate": 1e-3})
    search = ["--space", "training.rate=1e-3,3e-3", "--trials", 3, "--base", straight / "pretrain", "--method", "lora"]
    objective = ["pretrain", straight / "corpus", "--base", "scratch:bert-tiny", "--tokenizer", straight / "tokenizer", "--validation", 0.1]
    arms = ["--methods", "feature-extraction,lora", "--bases", straight / "pretrain", "--seeds", 1, "--no-halving"]
    return {
        "corpus": Stage(["corpus", "build", folder / "texts", "--quality", "none"], "same", ("*.parquet", "funnel.json")),
        "tokenizer": Stage(["tokenizer", "train", straight / "corpus", "--size", 300], "overwrite", ("*.json",)),
        "pretrain": Stage([*objective, "--length", 64, *settings(**{"training.epochs": 2})], "resume", ("model/*", "metrics.json")),
        "adapt": Stage(
            ["adapt", rows, "--base", straight / "pretrain", "--method", "lora", *tuned],
            "resume",
            ("model/*", "metrics.json", "predictions.parquet"),
        ),
        "compare": Stage(["compare", rows, *arms, *settings(**{"training.epochs": 1})], "same", ("compare.json",)),
        "search": Stage(["search", rows, *search, *settings(**{"training.epochs": 1})], "same", ("search.json", "best/model/*")),
        "export": Stage(["export", straight / "adapt", "--to", "merged"], "same", ("*.safetensors", "config.json")),
        "benchmark": Stage(
            [
                "benchmark",
                "glue",
                straight / "pretrain",
                "--tasks",
                "cola",
                "--data",
                folder / "GLUE",
                "--method",
                "lora",
                "--seeds",
                2,
                *tuned,
            ],
            "same",
            ("benchmark.json",),
        ),
    }


def environment(folder):
    """One cache and one ledger for all; every run finds the same there."""
    own = {"ROOTSTOCK_CACHE": str(folder / "cache"), "ROOTSTOCK_LEDGER": "off", "OMP_NUM_THREADS": "1"}
    return os.environ | own


def start(line, folder, before=None):
    """The command in a process of its own, which a SIGKILL reaches with all that it has started.

    before: a fault, called inside ahead of the command, and in each Python process that it starts: a partial of a function of a module.
    """
    return Child(line, environment(folder) | _inside(before), before)


def _inside(before):
    """The environment by which a fault is one of every Python process."""
    if before is None:
        return {}
    path = os.pathsep.join([str(HERE / "chaos_inside"), str(HERE), os.environ.get("PYTHONPATH", "")])
    return {"CHAOS_INSIDE": json.dumps([before.func.__module__, before.func.__name__, before.args]), "PYTHONPATH": path}


def ended(process):
    """Exit code and what was said, once it is over."""
    out, err = process.communicate(timeout=1800)
    return process.returncode, out, err


def clean(err):
    """Whether what was said is a message and no traceback."""
    return "Traceback" not in err and "rootstock:" in err


def finish(stage, out, folder, before=None):
    """Go on with what lies there, or begin: as a person would, by what the messages say."""
    line = [*stage.line, "--out", out]
    if stage.again == "resume" and (out / "recipe.yaml").exists() and (out / "ledger.json").exists():
        line = ["run", out / "recipe.yaml", "--resume"]
    elif stage.again == "overwrite" and out.exists():
        line.append("--overwrite")
    elif stage.again == "same" and stage.line[0] == "export" and out.exists() and any(out.iterdir()):
        return 0, "", ""  # whole: it does not write over it
    return ended(start(line, folder, before))


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def outcome(stage, out):
    """Digest of each file that counts; of JSON without the figures that no two runs share."""
    files = sorted({path for pattern in stage.kept for path in out.glob(pattern) if path.is_file() and path.name != "README.md"})
    return {path.relative_to(out).as_posix(): _digest(path) for path in files}


def _digest(path):
    data = path.read_bytes()
    if path.suffix == ".json" and path.parent.name != "model":
        data = json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if not SPENT.search(key)}
    return [_timeless(each) for each in value] if isinstance(value, list) else value
