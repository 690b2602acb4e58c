"""Break things on purpose: each fault on real commands, and what came of it.

python bench/chaos.py NAME… [--times N] [--seed S] [--stages corpus,adapt] [--folder runs/chaos]

NAME: kills, disk, readonly, shrink, flips, clock, two, memory, nan, hang, all, or table, which prints what earlier ones found. --times: how
often each fault happens to each stage (flips: places in all). The folder keeps the undisturbed runs that outcomes are compared with. Results
go to results/chaos.json, a part for each name; parts of one name for other stages are kept. table writes docs/reliability.md's. Exit code 1
where a promise was broken.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from chaos_clock import clock
from chaos_faults import hang, memory, nan
from chaos_flips import flips
from chaos_stages import clean, ended, finish, kill, outcome, prepare, stages, start

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "chaos.json"
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
START, END = "<!-- faults: written by bench/chaos.py -->", "<!-- end of faults -->"


def straight(folder, names):
    """The undisturbed run of each stage up to the last that is asked for; how long it takes and what it leaves."""
    prepare(folder)
    made, (found, last) = stages(folder), ({}, max(list(stages(folder)).index(name) for name in names))
    for name, stage in list(made.items())[: last + 1]:
        out, noted = folder / "straight" / name, folder / "straight" / f"{name}.json"
        needed = name in names or name in ("corpus", "tokenizer", "pretrain") or (name == "adapt" and "export" in names)
        if not needed:
            continue
        if not noted.exists():
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            code, _, err = finish(stage, out, folder)
            assert code == 0, err
            noted.write_text(json.dumps(time.perf_counter() - began))
        found[name] = (stage, json.loads(noted.read_text()), outcome(stage, out))
        assert found[name][2], f"{name} left nothing to compare"
    return {name: found[name] for name in names}


def judged(stage, out, wanted, folder):
    """What became of it in the end: equal, or in which way not."""
    code, _, err = finish(stage, out, folder)
    if code:
        return f"did not go on: {err.strip().splitlines()[-1] if err.strip() else code}"
    found = outcome(stage, out)
    differ = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    return f"other files: {', '.join(differ)}" if differ else "equal"


def kills(made, a):
    """SIGKILL at a random moment, sometimes twice, then on to the end."""
    told = {}
    for name, (stage, seconds, wanted) in made.items():
        rng, each = random.Random(f"{a.seed}-{name}"), []
        for number in range(a.times):
            out, moments = a.folder / "killed" / f"{name}-{number}", []
            for _ in range(rng.choice((1, 1, 2))):
                line = [*stage.line, "--out", out]
                if stage.again == "resume" and (out / "ledger.json").exists() and (out / "recipe.yaml").exists():
                    line = ["run", out / "recipe.yaml", "--resume"]
                process = start(line, a.folder)
                moments.append(round(rng.uniform(0.15, 1.0) * seconds, 2))
                time.sleep(moments[-1])
                kill(process)
            each.append({"seconds": moments, "outcome": judged(stage, out, wanted, a.folder), "left": litter(out)})
            print("kills", name, each[-1], flush=True)
            shutil.rmtree(out, ignore_errors=True)
        told[name] = each
    return told


def litter(out):
    """Temporary names that are left beside what is whole."""
    return sorted(path.name for path in (*out.rglob(".*.part"), *out.parent.glob(f".{out.name}.*")))


class Small:
    """A file system of its own in memory, of a size that can be changed."""

    def __init__(self, place, size):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", place], check=True)

    def again(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.place], check=True)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def disk(made, a):
    """A disk that is too small from the start, or that others fill once so much is written; then it has room again."""
    told = {}
    for name, (stage, _, wanted) in made.items():
        rng, each = random.Random(f"{a.seed}-{name}"), []
        whole = size_of(a.folder / "straight" / name)
        for number in range(a.times):
            size = int(max(8192, rng.uniform(0.05, 0.95) * whole))
            later = number % 2 == 0
            with Small(a.folder / "small" / f"{name}-{number}", "1g" if later else size) as small:
                out = small.place / "out"
                process = start([*stage.line, "--out", out], a.folder)
                while later and process.poll() is None:
                    if (used := shutil.disk_usage(small.place).used) >= size:
                        small.again(f"size={used}")
                        break
                    time.sleep(0.05)
                code, _, err = ended(process)
                met = {
                    "bytes": size,
                    "filled": later,
                    "code": code,
                    "message": clean(err) if code else True,
                    "said": err.strip().splitlines()[-3:] if code else [],
                }
                small.again("size=1g")
                became = judged(stage, out, wanted, a.folder)
                each.append(met | {"outcome": "not hit" if code == 0 and became == "equal" else became, "left": litter(out)})
            print("disk", name, each[-1], flush=True)
        told[name] = each
    return told


def readonly(made, a):
    """A folder that can't be written: from the start, and from a random moment on."""
    told = {}
    for name, (stage, seconds, wanted) in made.items():
        rng, each = random.Random(f"{a.seed}-{name}"), []
        for number in range(a.times):
            with Small(a.folder / "small" / f"ro-{name}-{number}", "1g") as small:
                out, moment = small.place / "out", 0.0 if number % 2 == 0 else rng.uniform(0.3, 1.0) * seconds
                missed = False
                if not moment:
                    small.again("ro")
                process = start([*stage.line, "--out", out], a.folder)
                time.sleep(moment)
                if moment:
                    line = ["mount", "-o", "remount,ro", small.place]
                    missed = subprocess.run(line, check=False, stderr=subprocess.DEVNULL).returncode > 0  # busy where a file is open
                code, _, err = ended(process)
                small.again("rw")
                each.append(
                    {
                        "seconds": round(moment, 2),
                        "code": code,
                        "message": clean(err) if code else True,
                        "said": err.strip().splitlines()[-2:],
                    }
                )
                became = judged(stage, out, wanted, a.folder)
                each[-1]["outcome"] = "not hit" if missed and became == "equal" else became
            print("readonly", name, each[-1], flush=True)
        told[name] = each
    return told


def shrink(made, a):
    """The data file is cut at a random moment: an error that is a message, or the outcome of one of the two files as a whole."""
    told = {}
    for name, (stage, seconds, wanted) in made.items():
        place = {"corpus": "texts", "adapt": "rows.csv", "compare": "rows.csv", "search": "rows.csv", "benchmark": "GLUE"}.get(name)
        if place is None:
            continue
        rng, each = random.Random(f"{a.seed}-{name}"), []
        for number in range(a.times):
            folder = a.folder / "shrunk" / f"{name}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            held = {path: path.read_bytes() for path in (a.folder / place, *(a.folder / place).rglob("*")) if path.is_file()}
            try:  # in its own place, as that is a part of what a corpus tells of its documents
                process = start([*stage.line, "--out", folder / "out"], a.folder)
                moment = rng.uniform(0.0, 0.9) * seconds
                time.sleep(moment)
                ran = process.poll() is None
                for path, data in held.items():
                    os.truncate(path, int(rng.uniform(0.1, 0.9) * len(data)))
                code, _, err = ended(process)
                same = code == 0 and outcome(stage, folder / "out") == wanted
                what = (
                    "message"
                    if code and clean(err)
                    else "traceback"
                    if code
                    else "not hit"
                    if same and not ran
                    else "equal"
                    if same
                    else "of the shorter file"
                )
                whole = what != "of the shorter file" or judged(stage, folder / "new", outcome(stage, folder / "out"), a.folder)
            finally:
                for path, data in held.items():
                    path.write_bytes(data)
            met = {"seconds": round(moment, 2), "while_it_ran": ran, "code": code, "outcome": what, "whole": whole}
            each.append(met | {"said": err.strip().splitlines()[-2:] if code else []})
            print("shrink", name, each[-1], flush=True)
            shutil.rmtree(folder, ignore_errors=True)
        told[name] = each
    return told


def two(made, a):
    """Two of the same command at once: one does it, the other is told who does; and a killed one stands in nobody's way."""
    told = {}
    for name, (stage, seconds, wanted) in made.items():
        rng, each = random.Random(f"{a.seed}-{name}"), []
        for number in range(a.times):
            out = a.folder / "two" / f"{name}-{number}"
            first, lock = start([*stage.line, "--out", out], a.folder), out.with_name(f".{out.name}.lock")
            while first.poll() is None and not lock.exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3) * seconds)
            if held := first.poll() is None:
                first.send_signal(signal.SIGSTOP)  # it stands where it is until the second has been told
            met = [ended(start([*stage.line, "--out", out], a.folder))]
            if held:
                first.send_signal(signal.SIGCONT)
            met.append(ended(first))
            codes = sorted(code for code, _, _ in met)
            each.append(
                {
                    "codes": codes,
                    "messages": all(clean(err) for code, _, err in met if code),
                    "named": any("is writing to" in m[2] for m in met),
                }
            )
            became = judged(stage, out, wanted, a.folder)
            each[-1]["outcome"] = "not hit" if became == "equal" and not each[-1]["named"] else became
            print("two", name, each[-1], flush=True)
            shutil.rmtree(out, ignore_errors=True)
        told[name] = each
    return told


def flipped(made, a):
    """Single bits of checkpoints, adapters, caches and manifests."""
    return flips(made["adapt"][0], a.folder, a.times, a.seed)


FAULTS = {
    "kills": kills,
    "disk": disk,
    "readonly": readonly,
    "shrink": shrink,
    "flips": flipped,
    "clock": clock,
    "two": two,
    "memory": memory,
    "nan": nan,
    "hang": hang,
}


NEEDED = {
    "flips": ["adapt"],
    "hang": ["adapt"],
    "memory": ["pretrain", "adapt"],
    "nan": ["pretrain", "adapt", "compare", "search", "benchmark"],
}
"""Stages that a fault is one of; others are of all."""


def broken(name, found):
    """How often a promise was broken."""
    if name == "flips":
        return sum(count for kind in found.values() for what, count in kind.items() if what not in ("found", "harmless"))
    wrong = 0
    for each in (each for some in found.values() for each in some):
        fine = each["outcome"] in ("equal", "message", "of the shorter file", "not hit") and each.get("whole", True) in (True, "equal")
        wrong += not (fine and each.get("message", True) and each.get("messages", True) and each.get("code", 0) in (0, 1, 2))
    return wrong


def table(told):
    """What was found so far, as rows of a Markdown table."""
    lines = ["| fault | tried | what came of it | promises broken |", "|---|---|---|---|"]
    for name, part in told.items():
        found = part["found"]
        if name == "flips":
            tried = {kind: sum(counts.values()) for kind, counts in found.items()}
            came = Counter(what for counts in found.values() for what, count in counts.items() for _ in range(count))
        else:
            tried = {stage: len(each) for stage, each in found.items()}
            came = Counter(each["outcome"] for some in found.values() for each in some)
        shown = ", ".join(f"{kind} {count:,}" for kind, count in tried.items())
        lines.append(f"| {name} | {shown} | {', '.join(f'{what} {count:,}' for what, count in came.items())} | {part['broken']} |")
    return "\n".join(lines)


def noted(name, found, a):
    """Keep what was found, beside what was found for other stages before; how many promises broke just now."""
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    whole = told.get(name, {}).get("found", {}) | found
    told[name] = {"times": a.times, "seed": a.seed, "broken": broken(name, whole), "found": whole}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1).replace(str(a.folder), "FOLDER") + "\n")
    return broken(name, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=[*FAULTS, "all", "table"])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages")
    parser.add_argument("--folder", type=Path, default=Path("runs/chaos"))
    a = parser.parse_args()
    if a.names == ["table"]:
        shown = table(json.loads(RESULTS.read_text()))
        before, rest = PAGE.read_text("utf-8").split(START)
        PAGE.write_text(f"{before}{START}\n{shown}\n{END}{rest.split(END)[1]}", "utf-8")
        print(shown)
        return
    a.folder = a.folder.resolve()
    names, total = list(FAULTS) if "all" in a.names else a.names, 0
    chosen = a.stages.split(",") if a.stages else list(stages(a.folder))
    for name in names:
        made = straight(a.folder, [each for each in chosen if each in NEEDED.get(name, chosen)] or NEEDED[name])
        found = FAULTS[name](made, a)
        wrong = noted(name, found, a)
        total += wrong
        shown = found if name == "flips" else {stage: dict(Counter(each["outcome"] for each in some)) for stage, some in found.items()}
        print(f"{name}: {wrong} broken promises", json.dumps(shown), flush=True)
    sys.exit(int(total > 0))


if __name__ == "__main__":
    main()
