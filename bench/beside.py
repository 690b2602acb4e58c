"""Shared by the benches that put ours beside a peer: each side in a process of its own, measured alike, a line of JSON for each run.

A bench names its peers, functions that get a dict and return one, and ends with `serve(PEERS) or main()`. Peers run under the Python that
ROOTSTOCK_PEER names (this one where it names none). Their threads sleep while they wait, as ours do, so that a busy neighbour does not decide
who is quick; where speed itself is measured they also run as they are (`plain`). ROOTSTOCK_RESULTS is another folder for results: for trials.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
ROOTSTOCK = [sys.executable, "-m", "rootstock"]
PEER = os.environ.get("ROOTSTOCK_PEER", sys.executable)
ACCEPT = [word for name in ("duplicates", "overlap", "contradictions", "truncation") for word in ("--accept", name)]
DRAWS = 1000


def process(line, env=None):
    """What a command prints, and what it took: seconds of the clock and MiB at its peak."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as told:
        started = time.perf_counter()
        child = subprocess.Popen([*map(str, line)], stdout=out, stderr=told, env=env)
        _, status, used = os.wait4(child.pid, 0)
        seconds, child.returncode = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
        for stream in (out, told):
            stream.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(map(str, line))[:500]} ended with {child.returncode}:\n{told.read()[-3000:]}")
        return out.read(), {"wall_s": round(seconds, 1), "peak_mb": used.ru_maxrss // 1024}


def call(*arguments):
    """What `rootstock` prints, and what it took."""
    return process([*ROOTSTOCK, *arguments])


def adapted(out, train, *options):
    """One `adapt`: its rates while it learned and what the whole command took."""
    _, spent = call("adapt", train, "--out", out, "--overwrite", *ACCEPT, *options)
    measured = json.loads((Path(out) / "plan.json").read_text())["measured"]
    return {key: measured[key] for key in ("rows_per_second", "tokens_per_second") if key in measured} | spent


def evaluated(out, test):
    """Figures of a run on test rows, and their intervals."""
    found = json.loads(call("evaluate", out, test, "--json")[0])
    return {"test": found["metrics"], "intervals": found["intervals"]}


def peer(who, told, *, plain=False):
    """What a peer of the bench that runs says, and what its process took."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "MALLOC_"))}
    given |= {} if plain else {"OMP_WAIT_POLICY": "PASSIVE"}
    out, spent = process([PEER, sys.argv[0], "--peer", who, json.dumps(told, default=str)], env=given)
    return json.loads(out.splitlines()[-1]) | spent


def serve(peers):
    """Whether this process is a peer's; then its figures are the last line that it prints."""
    if sys.argv[1:2] != ["--peer"]:
        return False
    with contextlib.redirect_stdout(sys.stderr):
        found = peers[sys.argv[2]](json.loads(sys.argv[3]))
    sys.stdout.write(json.dumps(found) + "\n")
    return True


def predicted(trainer, rows):
    """What a Trainer says of rows, in their order: with batches of like length it sorts these by length as well, and says nothing of it."""
    trainer.args.train_sampling_strategy = "random"
    return trainer.predict(rows)


def trainer_settings(told):
    """What the Trainer's arguments of all peers share; `tuned` adds bf16 and batches of like length."""
    tuned = {"bf16": True, "train_sampling_strategy": "group_by_length"} if told.get("mode") == "tuned" else {}
    return {
        "output_dir": tempfile.mkdtemp(), "learning_rate": told["rate"], "per_device_train_batch_size": told["batch"],
        "num_train_epochs": told["epochs"], "seed": told["seed"], "report_to": [], "save_strategy": "no", "use_cpu": True,
        "disable_tqdm": True, "logging_strategy": "no", **tuned,
    }  # fmt: skip


def trained(trainer):
    """The rate of a Trainer's training."""
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    rows = len(trainer.train_dataset) * trainer.args.num_train_epochs
    return {"rows_per_second": round(rows / seconds, 1), "training_s": round(seconds, 1)}


def interval(figure, *columns):
    """95 % of what a figure of columns gives on rows that are drawn again."""
    rng, columns = np.random.default_rng(0), [np.asarray(each) for each in columns]
    draws = (rng.integers(0, len(columns[0]), len(columns[0])) for _ in range(DRAWS))
    low, high = np.quantile([figure(*(each[rows] for each in columns)) for rows in draws], (0.025, 0.975))
    return [round(float(low), 4), round(float(high), 4)]


def ratio(totals, counts):
    """A loss of tokens: what they lost over how many they are."""
    return float(np.sum(totals) / np.sum(counts))


def record(name, row, shown=()):
    """Add a run to results/NAME.jsonl and print it; `shown`: figures of its test rows."""
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(row | {"load": round(os.getloadavg()[0], 1)}) + "\n")
    held = {key: value for key, value in row.items() if key not in {"test", "intervals"}}
    figures = {key: (round(row["test"][key], 4), row.get("intervals", {}).get(key)) for key in shown if key in row.get("test", {})}
    print(*(f"{key}={value}" for key, value in (held | figures).items()), flush=True)
