"""Requests for many LoRA adapters over one base, answered by the engine and by peft: rows a second, and whether the answers agree.

python bench/serving_adapters.py [--adapters 20] [--rows 2000] [--clients 64] [--repeats 3] [--base minilm] [--memory 100]

Runs are trained for one epoch on a few hundred real rows (their accuracy is of no matter here), then each row of the traffic goes to an
adapter at random. All ways get the same rows in the same order, and batches of at most the same number of padded tokens:

- engine: as many clients as told, each with one row on its way (rows/s), and all rows at once (saturated).
- peft, mixed: one PeftModel with all adapters, `adapter_names` a row, batches sorted by length as a careful user would cut them.
- peft, swapped: the same model, one adapter's rows at a time with set_adapter, batches of consecutive requests.

peft computes in the engine's format, and once more in float32, as its documentation loads a model. Repeats alternate between the ways, and
ratios are those of one repeat. Beside rows a second stand milliseconds of processor time a row, of all threads: they hold beside neighbours,
where rows a second do not. memory: resident bytes of a process with the base alone against one with so many adapters over it.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rootstock.core import resources

resources.prepare_threads()
resources.prepare_memory()

TOKENS = 4096


def texts_of(count):
    """Sentences of SST-2's test set, drawn with a seed."""
    import sets

    rows = [row[0] for row in sets.delimited(sets.DATA / "sst2" / "test.tsv", header=False)]
    rng = random.Random(0)
    return [rng.choice(rows) for _ in range(count)]


def train(place, base, count):
    """Runs on the same few rows with labels of their own, drawn at random: what they learn is of no matter, but all answer differently."""
    import csv

    import rootstock

    texts = texts_of(160)
    for number in range(count):
        out = place / f"a{number}"
        if out.exists():
            continue
        data = place / f"a{number}.csv"
        rng = random.Random(number)
        with data.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("text", "label"))
            writer.writerows((text, rng.choice(("yes", "no"))) for text in texts)
        settings = {"epochs": 1, "rate": 3e-3}
        accept = ["contradictions", "overlap", "duplicates", "truncation"]
        rootstock.adapt(data, out=out, base=base, method="lora", training=settings, seed=number, accept=accept)


class Peft:
    """One base with all adapters, as peft's documentation serves them."""

    def __init__(self, place, names, dtype):
        import torch
        from peft import PeftModel
        from transformers import AutoTokenizer

        from rootstock.bases import load as bases
        from rootstock.run.use import Run

        first = Run(place / names[0])
        self.tokens = AutoTokenizer.from_pretrained(place / names[0] / "model")
        self.labels = {name: Run(place / name).contract["labels"] for name in names}
        plain = bases.load(first.base("adapter"), first.task.head(), seed=0).model
        self.model = PeftModel.from_pretrained(plain, place / names[0] / "model", adapter_name=names[0])
        for name in names:
            if name != names[0]:
                self.model.load_adapter(place / name / "model", adapter_name=name)
        self.model.eval().to(dtype)
        self.torch = torch

    def _batches(self, texts, order):
        ids = self.tokens([texts[i] for i in order], truncation=True, max_length=512)["input_ids"]
        lengths = list(map(len, ids))
        start, widest = 0, 0
        for i, length in enumerate(lengths):
            widest = max(widest, length)
            if i > start and widest * (i - start + 1) > TOKENS:
                yield order[start:i], ids[start:i]
                start, widest = i, length
        yield order[start:], ids[start:]

    def mixed(self, texts, names):
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = [None] * len(texts)
        for rows, ids in self._batches(texts, order):
            self._answer(rows, ids, found, adapter_names=[names[i] for i in rows])
        return found

    def swapped(self, texts, names, window=64):
        """Requests as they come, 64 at a time as many as wait; in each window the adapters one after the other."""
        found = [None] * len(texts)
        for start in range(0, len(texts), window):
            some = range(start, min(start + window, len(texts)))
            for name in sorted({names[i] for i in some}):
                self.model.set_adapter(name)
                for rows, ids in self._batches(texts, sorted((i for i in some if names[i] == name), key=lambda i: len(texts[i]))):
                    self._answer(rows, ids, found)
        return found

    def _answer(self, rows, ids, found, **more):
        batch = self.tokens.pad({"input_ids": ids}, return_tensors="pt")
        with self.torch.inference_mode():
            shares = self.model(**batch, **more).logits.float().softmax(-1).numpy()
        for row, share in zip(rows, shares, strict=True):
            found[row] = share


def by_engine(built, texts, names, clients):
    """As many clients as told, each with one row on its way; all rows at once where clients is 0."""
    found, todo = [None] * len(texts), iter(range(len(texts)))

    async def client():
        for i in todo:
            found[i] = (await built.predict(names[i], [{"text": texts[i]}], timeout_s=600))[0]

    async def run():
        await asyncio.gather(*(client() for _ in range(clients or len(texts))))

    return timed(lambda *_: asyncio.run(run()) or found, texts, names)


def timed(answer, texts, names):
    start, busy = time.perf_counter(), time.process_time()
    found = answer(texts, names)
    return found, len(texts) / (time.perf_counter() - start), 1000 * (time.process_time() - busy) / len(texts)


def ratios(ours, theirs):
    """Of repeats that stood side by side."""
    found = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {"median": round(statistics.median(found), 2), "least": round(found[0], 2), "most": round(found[-1], 2)}


def apart(engine_rows, peft_rows, labels, names):
    """The largest difference of a probability."""
    return max(
        abs(ours[f"p({label})"] - float(share[k]))
        for ours, share, name in zip(engine_rows, peft_rows, names, strict=True)
        for k, label in enumerate(labels[name])
    )


def memory(place, base, count):
    """Resident bytes after answering: the base alone, and with so many adapters."""
    code = """
import asyncio, json, sys
from pathlib import Path
from rootstock.core import resources
resources.prepare_threads(); resources.prepare_memory()
from rootstock.run.served import engine
from rootstock.serving.settings import EngineSettings
place, base, names = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
built = engine(EngineSettings(max_loaded=len(names) + 1))
built.load("base", Path(base))
for number, name in enumerate(names):
    built.load(f"m{number}", place / name)
asked = [f"m{number}" for number in range(len(names))] or ["base"]
async def go():
    await asyncio.gather(*(built.predict(name, [{"text": "a stirring, funny film"}], timeout_s=600) for name in asked))
asyncio.run(go())
print(resources.resident_memory())
built.close()
"""
    trained = [path.name for path in sorted(place.iterdir()) if (path / "manifest.json").exists()]
    many = [trained[i % len(trained)] for i in range(count)]  # a folder under several names is read and held as often
    held = []
    for names in ([], many):
        done = subprocess.run([sys.executable, "-c", code, str(place), base, json.dumps(names)], capture_output=True, text=True, check=True)
        held.append(int(done.stdout.split()[-1]))
    return {"base_alone_bytes": held[0], f"with_{count}_adapters_bytes": held[1], "ratio": held[1] / held[0]}


def main():
    asked = argparse.ArgumentParser()
    for name, value in (("adapters", 20), ("rows", 2000), ("clients", 64), ("repeats", 3), ("memory", 100)):
        asked.add_argument(f"--{name}", type=int, default=value)
    asked.add_argument("--base", default="minilm")
    asked.add_argument("--runs", default=None)
    given = asked.parse_args()
    import torch

    from rootstock.run.served import engine
    from rootstock.serving.settings import EngineSettings

    place = Path(given.runs or tempfile.mkdtemp(prefix="adapters-"))
    place.mkdir(parents=True, exist_ok=True)
    train(place, given.base, given.adapters)
    trained = [f"a{number}" for number in range(given.adapters)]
    rng = random.Random(1)
    texts, names = texts_of(given.rows), [rng.choice(trained) for _ in range(given.rows)]
    built = engine(EngineSettings(max_batch_tokens=TOKENS, queue_rows=given.rows))
    for name in trained:
        built.load(name, place / name)
    peft, plain = Peft(place, trained, built.format.dtype), Peft(place, trained, torch.float32)
    ways = {
        "engine": lambda: by_engine(built, texts, names, given.clients),
        "engine_saturated": lambda: by_engine(built, texts, names, 0),
        "peft_mixed": lambda: timed(peft.mixed, texts, names),
        "peft_swapped": lambda: timed(peft.swapped, texts, names),
        "peft_mixed_float32": lambda: timed(plain.mixed, texts, names),
    }
    paces, busy, answers = {name: [] for name in ways}, {name: [] for name in ways}, {}
    for turn in range(given.repeats + 1):
        for name, way in ways.items():
            answers[name], pace, used = way()
            if turn:  # the first warms up
                paces[name].append(pace)
                busy[name].append(used)
            print(f"{name} {pace:.0f} rows/s, {used:.2f} ms of processor time a row", flush=True)
    exact = answers["peft_mixed_float32"]
    middle = {name: statistics.median(each) for name, each in paces.items()}
    figures = built.figures()
    built.close()
    found = {
        "adapters": given.adapters,
        "rows": given.rows,
        "clients": given.clients,
        "base": given.base,
        "precision": figures["precision"],
        "rows_per_second": {name: [round(each, 1) for each in held] for name, held in paces.items()},
        "median": {name: round(each, 1) for name, each in middle.items()},
        "processor_ms_a_row": {name: round(statistics.median(each), 3) for name, each in busy.items()},
        "times_as_fast": {name: ratios(paces["engine"], paces[name]) for name in ways if name.startswith("peft")},
        "times_as_fast_saturated": {name: ratios(paces["engine_saturated"], paces[name]) for name in ways if name.startswith("peft")},
        "largest_difference": {
            "from_peft_same_format": apart(answers["engine"], answers["peft_mixed"], peft.labels, names),
            "from_peft_float32": apart(answers["engine"], exact, peft.labels, names),
            "peft_same_format_from_float32": max(
                float(abs(one - other).max()) for one, other in zip(answers["peft_mixed"], exact, strict=True)
            ),
        },
        "seconds": figures["seconds"],
        "rows_a_batch": round(figures["rows"] / figures["batches"], 1),
        "padding_share": round(1 - figures["real_tokens"] / figures["padded_tokens"], 3),
        "memory": memory(place, given.base, given.memory) if given.memory else None,
        "hardware": resources.hardware(),
    }
    out = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "serving_adapters.json"
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
