"""The last block for first tokens alone against the whole block: updates of `full` and answers, alternating; writes results/last_block.json.

    python bench/last_block.py [--base minilm] [--updates 12] [--answers 600] [--rounds 3] [--precision auto]

By processor time, which a busy machine changes less than seconds by the clock: two trainings of one base take the same updates of SST-2 in
turns, one with the last block whole, and then answer the same rows in turns.
"""

import argparse
import json
import os
import statistics
import time
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import sets
import torch
from accelerate import Accelerator

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.recipe import TrainingSettings
from rootstock.core.rows import LABEL, ROW, TEXT
from rootstock.data.batches import Feed
from rootstock.loop import infer, precision, train
from rootstock.loop.job import Job
from rootstock.methods.full import Full
from rootstock.run.exact import exact
from rootstock.tasks.text_classification import TextClassification

HERE = Path(__file__).parent
WAYS = ("whole", "alone")
TOKENS = 2048
"""Of an update, as `full` takes them."""


@contextmanager
def way(name):
    """Inside, the last block is whole or not."""
    off = (
        patch.object(train, "first_alone", lambda *_, **__: nullcontext()),
        patch.object(infer, "first_alone", lambda *_, **__: nullcontext()),
    )
    if name == "alone":
        yield
        return
    with off[0], off[1]:
        yield


def rows(count):
    texts, labels = zip(*sets.delimited(sets.DATA / "sst2" / "train.tsv.gz", header=False)[:count], strict=True)
    return pa.table({TEXT: list(texts), LABEL: list(labels), ROW: list(range(1, count + 1))})


def spent(work):
    """Seconds of a processor."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measured(a):
    table = rows(max(a.answers, 90 * a.updates))
    task = TextClassification().fit(table, table)
    base = resolve(a.base)
    tokenizer, dtype = bases.tokenizer(base), precision.choose(a.precision, "cpu")
    encoded = task.encode(table, tokenizer, None)
    answered = Feed(task.encode(table.slice(0, a.answers), tokenizer, None), task, tokenizer, TOKENS, 8192, 0)
    trainings, models = {}, {}
    for name in WAYS:
        loaded = bases.load(base, task.head(), seed=1, dropout=0.0)
        models[name] = Full().apply(loaded)
        bases.fit(tokenizer, models[name])
        settings = TrainingSettings(epochs=1, rate=1e-4, batch_tokens=TOKENS, micro_tokens=8192, weight_decay=0.0)
        with way(name):
            trainings[name] = train.Training(
                Job(
                    model=models[name],
                    task=task,
                    method=Full(),
                    feed=Feed(encoded, task, tokenizer, TOKENS, 8192, 0),
                    settings=settings,
                    dtype=dtype,
                    fresh=exact(models[name], loaded, task=task, method=Full(), scratch=False),
                    accelerator=Accelerator(cpu=True, mixed_precision="no"),
                    evaluate=lambda: ((0.0,), {}),
                    note=lambda event: None,
                    save=lambda moment: None,
                )
            )
    found, losses = {name: {"update": [], "answer": []} for name in WAYS}, {name: [] for name in WAYS}
    for number in range(a.updates):
        for name in WAYS if number % 2 else WAYS[::-1]:
            found[name]["update"].append(spent(lambda name=name: losses[name].append(trainings[name].trial(1.0))))
    for name in WAYS:
        with closing(trainings[name]):
            pass
    answers = {}
    for number in range(a.rounds + 1):
        for name in WAYS if number % 2 else WAYS[::-1]:
            with way(name):
                took = spent(
                    lambda name=name: answers.update({name: infer.predict(models["whole"], answered, task, device=torch.device("cpu"))})
                )
            found[name]["answer"] += [took] if number else []  # the first makes the products of these shapes
    apart = [abs(x - y) for x, y in zip(*losses.values(), strict=True)]
    return {
        "precision": str(dtype).removeprefix("torch."),
        "seconds": {name: {what: [round(each, 4) for each in some] for what, some in held.items()} for name, held in found.items()},
        "ratio": {
            what: round(statistics.median(x / y for x, y in zip(found["whole"][what], found["alone"][what], strict=True)), 3)
            for what in ("update", "answer")
        },
        "losses_apart": max(apart),
        "answers_apart": float(abs(answers["whole"]["scores"] - answers["alone"]["scores"]).max()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--answers", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results")) / "last_block.json")
    a = parser.parse_args()
    held = json.loads(a.out.read_text()) if a.out.exists() else {}
    made = measured(a)
    held[f"{a.base}, {made['precision']}"] = made | {"load": round(statistics.fmean(os.getloadavg()), 2), "cores": torch.get_num_threads()}
    a.out.write_text(json.dumps(held, indent=1) + "\n")
    print(json.dumps({name: value for name, value in made.items() if name != "seconds"}))


if __name__ == "__main__":
    main()
