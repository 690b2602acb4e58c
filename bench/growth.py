"""How the work grows: curves and their slopes, not points; writes results/growth.json, and from it a table and a plot for docs/performance.md.

python bench/growth.py rows memory runs dedup [--folder runs/growth] [--toy]
python bench/growth.py table

rows: a bert-tiny on 1,000 to 1,000,000 rows, a few updates at each size: what grows is reading, encoding and shuffling, so these are timed
apart from the steady rate. memory: a corpus built of 100 MB to 2 GB of made text, and its rows made ready for pre-training (--most 10000 for
10 GB). runs: how soon a folder of 10 to 10,000 runs is listed, and a name is found for a new one. dedup: from results/near_duplicates.json,
which bench/near_duplicates.py writes up to 1 M documents; 10 M is on paper. Each point is a process of its own. Curves are drawn of processor
seconds, which other work on the machine changes little; wall seconds are kept beside. --toy: the small sizes only.
"""

import argparse
import csv
import itertools
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))
PAGE, PLOT = HERE.parent / "docs" / "performance.md", HERE.parent / "docs" / "growth.svg"
START, END = "<!-- growth: written by bench/growth.py -->", "<!-- end of growth -->"
SIZES = {
    "rows": [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "memory": [100, 200, 500, 1_000, 2_000],
    "runs": [10, 100, 1_000, 3_000, 10_000],
}
TOY = {"rows": [200, 400], "memory": [2, 4], "runs": [10, 30]}
_UPDATES = 40
_SETTINGS = {"epochs": 1, "batch_tokens": 2048, "dropout": 0.0, "rate": 1e-3}


def words(count=20_000, seed=1):
    """Made words, and how often each comes or one before it: by Zipf's law, as in a text."""
    rng = random.Random(seed)
    made = sorted({"".join(rng.choice("aeioulnrstdmkpgb") for _ in range(rng.randint(2, 9))) for _ in range(2 * count)})[:count]
    rng.shuffle(made)
    return made, list(itertools.accumulate(1 / (place + 3) for place in range(len(made))))


def write_rows(path, count):
    """Short texts with one of two labels, which one word tells."""
    (held, shares), rng = words(), random.Random(count)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        for start in range(0, count, 1000):
            drawn = iter(rng.choices(held, cum_weights=shares, k=16 * 1000))
            for number in range(start, min(start + 1000, count)):
                told = [next(drawn) for _ in range(rng.randint(6, 14))]
                writer.writerow((" ".join(["good" if number % 2 else "bad", *told, str(number)]), "yes" if number % 2 else "no"))


def write_texts(folder, megabytes):
    """JSON lines in files of 10 MB, documents of some 2 kB: what memory holds of each document counts, not of each file."""
    (held, shares), folder = words(), Path(folder)
    folder.mkdir(parents=True)
    for number in range(-(-megabytes // 10)):
        rng, made = random.Random(number), 0
        with (folder / f"{number:05}.jsonl").open("w") as stream:
            while made < min(10, megabytes) * 1_000_000:
                drawn = rng.choices(held, cum_weights=shares, k=rng.randint(100, 600))
                lines = [" ".join(drawn[at : at + 12]).capitalize() + "." for at in range(0, len(drawn), 12)]
                made += stream.write(json.dumps({"text": " ".join(lines)}) + "\n")


def peak_mb():
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024


def spent():
    """Processor seconds so far, those of processes that have ended among them: what a curve is made of, as a busy machine doesn't bend it."""
    return sum(os.times()[:4])


def timed(work):
    """Wall and processor seconds of some work, and what it gives."""
    wall, cpu = time.perf_counter(), spent()
    made = work()
    return {"wall_s": round(time.perf_counter() - wall, 6), "cpu_s": round(spent() - cpu, 6)}, made


def often(work, least=0.5):
    """The same for what takes less than the clock of processors can tell: again and again, for half a second in all; of one time."""
    count, wall, cpu = 0, time.perf_counter(), spent()
    while not count or spent() - cpu < least:
        made, count = work(), count + 1
    return {"wall_s": round((time.perf_counter() - wall) / count, 7), "cpu_s": round((spent() - cpu) / count, 7)}, made


def rows_recipe(count, folder):
    """A bert-tiny on so many rows, which are written where they are not there yet."""
    from rootstock.core.recipe import Recipe

    if not (folder / f"{count}.csv").exists():
        write_rows(folder / f"{count}.csv", count)
    if not (folder / "validation.csv").exists():
        write_rows(folder / "validation.csv", 200)
    values = {"base": "scratch:bert-tiny", "task": {"name": "text-classification"}, "method": {"name": "full"}, "training": _SETTINGS}
    values["data"] = {"train": str(folder / f"{count}.csv"), "validation": str(folder / "validation.csv")}
    return Recipe.build(values | {"accept": ["overlap", "contradictions", "duplicates"]}, "")


def one_rows(count, folder):
    """Seconds to read and encode so many rows, without and with the cache; and to order an epoch. Libraries are there already."""
    from rootstock.run.prepare import prepare

    recipe = rows_recipe(count, folder)
    prepare(rows_recipe(150, folder), lambda text: None)
    first, _ = timed(lambda: prepare(recipe, lambda text: None))
    again, prepared = timed(lambda: prepare(recipe, lambda text: None))
    order, _ = often(lambda: prepared.feed(prepared.encoded).epoch(0))
    told = {"rows": count, "read_and_encode": first, "from_cache": again, "order_of_an_epoch": order}
    return told | {"file_mb": round((folder / f"{count}.csv").stat().st_size / 1e6, 2)}


def one_learned(count, folder):
    """The rate of updates on so many rows, by processor seconds, and what a run of them holds that reads and encodes them itself."""
    from rootstock.core.watch import Watch
    from rootstock.verbs import api

    recipe, met, of_epoch = rows_recipe(count, folder), [], []

    def look(event):
        if event["event"] == "step":
            met.append((spent(), event["rows"]))
            of_epoch.append(round(event["step"] / event["epoch"]))

    whole, _ = timed(lambda: api.carry_out(recipe, folder / "run", Watch(enough=lambda step: step >= _UPDATES, event=look)))
    steady = met[min(5, len(met) // 2) :]
    rate = round(sum(rows for _, rows in steady[1:]) / (steady[-1][0] - steady[0][0]), 1)
    told = {"whole_run": whole, "updates_of_an_epoch": of_epoch[-1], "updates": len(met), "rows_per_s": rate}
    return told | {"peak_mb": peak_mb()}


def one_memory(megabytes, folder):
    """Memory and seconds to build a corpus of so much text; the rows of it are another process's."""
    from rootstock.core.watch import Watch
    from rootstock.corpus.build import build
    from rootstock.corpus.pipeline import CorpusSettings

    write_texts(folder / "texts", megabytes)
    settings = CorpusSettings.build({"sources": [str(folder / "texts")], "quality": "none"}, "")
    took, made = timed(lambda: build(settings, folder / "corpus", Watch()))
    shutil.rmtree(folder / "texts")
    return {"text_mb": megabytes, "build": took | {"peak_mb": peak_mb()}, "documents": made["kept"]["documents"]}


def one_encoded(megabytes, folder):
    """Memory and seconds to make the rows of that corpus ready."""
    from rootstock.core.recipe import Recipe
    from rootstock.run.prepare import prepare

    values = {
        "base": "scratch:bert-tiny",
        "task": {"name": "masked-lm"},
        "method": {"name": "full"},
        "training": _SETTINGS | {"length": 128},
    }
    recipe = Recipe.build(values | {"data": {"train": str(folder / "corpus"), "validation": 0.01}}, "")
    took, prepared = timed(lambda: prepare(recipe, lambda text: None))
    return {"text_mb": megabytes, "rows": len(prepared.encoded), "ready": took | {"peak_mb": peak_mb()}}


def one_runs(count, folder):
    """Seconds to list so many runs, first and again; to find a name for a new run beside them; and the memory of the list."""
    from rootstock.serving.studio.index import Index
    from rootstock.verbs import api

    make_runs(folder / "many", count)
    before = peak_mb()
    first, seen = often(lambda: Index(folder / "many").runs())
    index = Index(folder / "many")
    index.runs()
    again, _ = often(index.runs)
    name, _ = often(lambda: api.free_folder(folder / "many" / "reviews"))
    assert len(seen) == count, len(seen)
    return {"runs": count, "first_look": first, "next_look": again, "free_name": name, "list_mb": peak_mb() - before}


def make_runs(root, count):
    """Copies of one real run's records under the names that `adapt` gives. Its weights are left out: no list reads them."""
    import rootstock

    one = root.parents[1] / "one"
    if not (one / "manifest.json").exists():
        write_rows(root.parents[1] / "few.csv", 120)
        settings = {"training": _SETTINGS | {"epochs": 1, "batch_tokens": 512}}
        rootstock.adapt(root.parents[1] / "few.csv", base="scratch:bert-tiny", method="full", out=one, overwrite=one.exists(), **settings)
    records = [path for path in one.iterdir() if path.suffix in (".json", ".yaml", ".jsonl", ".md")]
    held = [(path.name, path.read_bytes()) for path in records]
    for number in range(count):
        place = root / ("reviews" if number == 0 else f"reviews-{number + 1}")
        place.mkdir(parents=True)
        for name, data in held:
            (place / name).write_bytes(data)


ONE = {"rows": one_rows, "learned": one_learned, "memory": one_memory, "encoded": one_encoded, "runs": one_runs}


def point(name, size, folder):
    """One size in a process of its own, with a cache and a ledger of its own; what it found."""
    own = {"ROOTSTOCK_CACHE": str(folder / "cache"), "ROOTSTOCK_LEDGER": "off"}
    line = [sys.executable, __file__, "--one", name, "--size", str(size), "--folder", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **own})
    if done.returncode:
        raise SystemExit(f"{name} at {size}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def curve(name, sizes, folder):
    """A point for each size; each is noted as soon as it is there."""
    for size in sizes:
        place = folder / f"{name}-{size}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        told = point(name, size, place)
        if name == "memory":
            told |= point("encoded", size, place)
        if name == "rows":
            shutil.rmtree(place / "cache", ignore_errors=True)
            told |= point("learned", size, place)
            before = told["read_and_encode"]["cpu_s"] + told["order_of_an_epoch"]["cpu_s"]
            told["rows_per_s_whole_epoch"] = round(size / (size / told["rows_per_s"] + before), 1)
        print(name, json.dumps(told), flush=True)
        noted(name, told)
        shutil.rmtree(place)  # of 10,000 runs it takes minutes


def noted(name, told):
    """Keep a point, in the place of an earlier one of its size."""
    path = RESULTS / "growth.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    key = {"rows": "rows", "memory": "text_mb", "runs": "runs"}[name]
    held[name] = sorted([each for each in held.get(name, []) if each[key] != told[key]] + [told], key=lambda each: each[key])
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1) + "\n")


def slopes(points):
    """Of (x, y): the exponents between neighbours, y ~ x^exponent; what each unit of x adds there; and where the curve bends.

    What has a fixed part and a part in proportion has exponents that grow from 0 to 1, and a power of x adds ever more or less: neither is
    a bend. One is where the exponent changes by more than 0.2 and what is added by more than a half.
    """
    held = [(x, max(y, 1e-9)) for x, y in points]
    pairs = list(itertools.pairwise(held))
    exponents = [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in pairs]
    added = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs]
    bends = [b[0] for (_, b), one, two, fewer, more in zip(pairs, exponents, exponents[1:], added, added[1:], strict=False)
             if abs(two - one) > 0.2 and not 2 / 3 <= (more / fewer if fewer else math.inf) <= 3 / 2]  # fmt: skip
    return exponents, added, bends


def beyond(points, size):
    """On paper: the value at `size` by the last two points, by their line or by their power of x, whichever is more."""
    (x0, y0), (x1, y1) = points[-2:]
    return max(y1 + (y1 - y0) / (x1 - x0) * (size - x1), y1 * (size / x1) ** (math.log(y1 / y0) / math.log(x1 / x0)))


def series(held):
    """The curves that are shown: what, unit of x, unit of y, points."""
    made = []
    if rows := held.get("rows"):
        for key, what in (("read_and_encode", "rows read, checked and encoded"), ("from_cache", "the same from the cache")):
            made.append((what, "rows", "s", [(each["rows"], each[key]["cpu_s"]) for each in rows]))
        made.append(("order of an epoch", "rows", "s", [(each["rows"], each["order_of_an_epoch"]["cpu_s"]) for each in rows]))
        made.append(("updates, steady", "rows", "rows/s", [(each["rows"], each["rows_per_s"]) for each in rows]))
        made.append(("first epoch with all before it", "rows", "rows/s", [(each["rows"], each["rows_per_s_whole_epoch"]) for each in rows]))
        made.append(("memory of a run", "rows", "MB", [(each["rows"], each["peak_mb"]) for each in rows]))
    if memory := held.get("memory"):
        made.append(("memory to build a corpus", "MB of text", "MB", [(each["text_mb"], each["build"]["peak_mb"]) for each in memory]))
        made.append(("time to build a corpus", "MB of text", "s", [(each["text_mb"], each["build"]["cpu_s"]) for each in memory]))
        made.append(("memory to make it ready", "MB of text", "MB", [(each["text_mb"], each["ready"]["peak_mb"]) for each in memory]))
    if runs := held.get("runs"):
        for key, what in (("first_look", "runs listed"), ("next_look", "listed again"), ("free_name", "name for a new run")):
            made.append((what, "runs", "s", [(each["runs"], each[key]["cpu_s"]) for each in runs]))
    return made + duplicates()


def duplicates():
    """The curves of near duplicates that bench/near_duplicates.py has measured."""
    path = RESULTS / "near_duplicates.json"
    told = json.loads((path if path.exists() else HERE / "results" / "near_duplicates.json").read_text())["curve"]
    points = {"near duplicates, time": "seconds", "near duplicates, memory": "peak_rss_mb"}
    return [
        (
            what,
            "documents",
            "s" if key == "seconds" else "MB",
            [(each["documents"], each[key]["all"] if key == "seconds" else each[key]) for each in told],
        )
        for what, key in points.items()
    ]


_EACH = {
    "rows": (1_000_000, "a million rows"),
    "MB of text": (1_000, "a GB of text"),
    "runs": (1_000, "a thousand runs"),
    "documents": (1_000_000, "a million documents"),
}
"""How much of x is told what it adds."""
_PAPER = {"documents": 10_000_000, "MB of text": 10_000}


def table(held):
    """Each curve in a line: its ends, its exponents, what more of x adds at its end, its bends, and what it comes to on paper."""
    lines = ["| | from | to | slope, first and last | adds at the end | bends at | on paper |", "|---|---|---|---|---|---|---|"]
    for what, unit, of, points in series(held):
        ends = [f"{x:,} {unit}: {y:,.4g} {of}" for x, y in (points[0], points[-1])]
        shown = more = bent = paper = ""
        if len(points) > 1:
            exponents, added, bends = slopes(points)
            shown, bent = f"{exponents[0]:.2f}, {exponents[-1]:.2f}", ", ".join(f"{x:,}" for x in bends) or "nowhere"
            each, of_each = _EACH[unit]
            more = f"{added[-1] * each:,.3g} {of} {of_each}" if not of.endswith("/s") else ""
            if unit in _PAPER and points[-1][0] < _PAPER[unit]:
                paper = f"{_PAPER[unit]:,} {unit}: {beyond(points, _PAPER[unit]):,.0f} {of}"
        lines.append(f"| {what} | {ends[0]} | {ends[1]} | {shown} | {more} | {bent} | {paper} |")
    return "\n".join(lines)


def plot(held):
    """The curves as SVG, both axes by ratio: a panel for each unit of x."""
    panels, parts = {}, []
    for what, unit, of, points in series(held):
        panels.setdefault(unit, []).append((f"{what} ({of})", points))
    for number, (unit, lines) in enumerate(panels.items()):
        parts.append(_panel(unit, lines, 20 + number % 2 * 480, 30 + number // 2 * 330))
    height = 30 + -(-len(panels) // 2) * 330
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 {height}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


_COLOURS = ("#1b6ca8", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c")


def _panel(unit, lines, left, top):
    xs = [math.log10(x) for _, points in lines for x, _ in points]
    ys = [math.log10(max(y, 1e-6)) for _, points in lines for _, y in points]
    low, high = (math.floor(min(ys)), math.ceil(max(ys))) if max(ys) > min(ys) else (math.floor(min(ys)), math.floor(min(ys)) + 1)
    wide, tall = 270, 240

    def at(x, y):
        spread = max(max(xs) - min(xs), 1e-9)
        return left + 40 + (math.log10(x) - min(xs)) / spread * wide, top + tall - (math.log10(max(y, 1e-6)) - low) / (high - low) * tall

    parts = [f'<text x="{left + 40}" y="{top - 8}" font-weight="bold">by {unit}</text>']
    for power in range(low, high + 1):
        _, y = at(10 ** min(xs), 10.0**power)
        parts.append(f'<line x1="{left + 40}" x2="{left + 40 + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left + 35}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for x in sorted({x for _, points in lines for x, _ in points}):
        parts.append(f'<text x="{at(x, 1)[0]:.1f}" y="{top + tall + 15}" text-anchor="middle" font-size="9">{x:,}</text>')
    for place, (what, points) in enumerate(lines):
        colour, places = _COLOURS[place % len(_COLOURS)], [at(x, y) for x, y in points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{left + 50 + wide}" y="{top + 12 + 15 * place}" fill="{colour}" font-size="9">{what}</text>')
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=["rows", "memory", "runs", "dedup", "table", []])
    parser.add_argument("--folder", type=Path, default=Path("runs/growth"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--most", type=int, default=10**9, help="no larger sizes than this; sizes above those of the list are added")
    parser.add_argument("--one", choices=list(ONE))
    parser.add_argument("--size", type=int)
    a = parser.parse_args()
    a.folder = a.folder.resolve()
    if a.one:
        print(json.dumps(ONE[a.one](a.size, a.folder)))
        return
    for name in a.names:
        if name in SIZES:
            sizes = (TOY if a.toy else SIZES)[name]
            sizes = [*sizes, 5_000, 10_000] if name == "memory" and 10_000 <= a.most < 10**9 else sizes
            curve(name, [size for size in sizes if size <= a.most], a.folder)
    path = RESULTS / "growth.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    print(table(held))
    if "table" in a.names:
        PLOT.write_text(plot(held))
        text = PAGE.read_text("utf-8")
        before, rest = text.split(START)
        PAGE.write_text(f"{before}{START}\n{table(held)}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
