"""The sentinel on a catalogue of attack files and benign ones, beside other scanners; writes results/security.json.

    python bench/security.py [--root FOLDER] [--policy standard] [--only pickle onnx] [--speed]

ROOTSTOCK_PEER names a virtual environment with picklescan==1.0.5, modelscan==0.8.8, fickling==0.1.12 or modelaudit==0.2.54; those that are
there run as commands, one process a case. ROOTSTOCK_SECURITY is another folder of cases, ROOTSTOCK_RESULTS another one for results.

found: the policy refuses a finding that is no mere "not scanned". not scanned: refused only because a part could not be read. For a peer:
found is exit code 1 (modelscan too), clean 0, all else counts as not scanned. --speed makes three large files in a temporary folder and
takes processor seconds of the whole command, start included.
"""

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from rootstock.sentinel import scan

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("ROOTSTOCK_SECURITY", Path(__file__).parents[2] / "shared" / "security"))
RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))
PEER = Path(os.environ.get("ROOTSTOCK_PEER", "/nowhere"))
PEERS = {
    "picklescan": ["picklescan", "-p"],
    "picklescan --strict": ["picklescan", "--strict", "-p"],
    "modelscan": ["modelscan", "-p"],
    "fickling": ["fickling", "--check-safety"],
    "modelaudit": ["modelaudit", "scan"],
}
QUIET = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "CI": "true"}


def cases(root):
    """The cases whose files are there: id, kind, format, folder."""
    listed = json.loads((root / "manifest.json").read_text("utf-8"))
    places = {"attack": root / "attacks", "benign": root / "benign"}
    found = [(each, places[each["kind"]] / each["id"]) for each in listed]
    return [(each["id"], each["kind"], each["fmt"], folder) for each, folder in found if folder.is_dir()]


def ours(folder, policy):
    """found, not scanned or clean, and the rules."""
    report = scan(folder, policy=policy)
    refused = report.by_action("refuse")
    verdict = "found" if any(each.severity != "unscanned" for each in refused) else "not scanned" if refused else "clean"
    return verdict, sorted({each.rule for each in refused})


def theirs(words, folder):
    """The verdict of a command that says it by its exit code."""
    try:
        done = subprocess.run(
            [PEER / "bin" / words[0], *words[1:], folder], capture_output=True, check=False, timeout=300, env={**os.environ, **QUIET}
        )
    except subprocess.TimeoutExpired:
        return "not scanned"
    return {0: "clean", 1: "found"}.get(done.returncode, "not scanned")


def seconds(command):
    """Processor seconds and peak megabytes of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, capture_output=True, env={**os.environ, **QUIET})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def speed(peers):
    """A pickle of many small objects and one of long bytes: MB/s of the whole command."""
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        many, long = Path(folder, "many.pkl"), Path(folder, "long.pkl")
        rows = [{"id": i, "name": f"n{i % 1000}", "w": [i * 0.5, i % 7, None], "ok": True, "t": (i, i + 1)} for i in range(300_000)]
        many.write_bytes(pickle.dumps(rows, protocol=4))
        with long.open("wb") as stream:
            pickle.dump([os.urandom(1 << 20) for _ in range(128)], stream, protocol=4)
        for path in (many, long):
            commands = {"rootstock": [sys.executable, "-m", "rootstock", "scan", path]}
            commands |= {name: [PEER / "bin" / words[0], *words[1:], path] for name, words in peers.items()}
            for name, command in commands.items():
                took, peak = seconds(command)
                table[f"{path.stem} {name}"] = {"mb_per_second": round(path.stat().st_size / 1e6 / took, 2), "seconds": round(took, 2)}
                table[f"{path.stem} {name}"]["largest_mb_so_far"] = round(peak)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--policy", default="standard")
    parser.add_argument("--only", nargs="*", help="formats of the catalogue")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    peers = {name: words for name, words in PEERS.items() if (PEER / "bin" / words[0]).is_file()}
    counts, details, started = defaultdict(Counter), {}, time.process_time()
    for name, kind, form, folder in cases(options.root):
        if options.only and form not in options.only:
            continue
        verdict, rules = ours(folder, options.policy)
        details[name] = {"kind": kind, "format": form, "rootstock": verdict, "rules": rules}
        details[name] |= {peer: theirs(words, folder) for peer, words in peers.items()}
        for tool in ("rootstock", *peers):
            counts[tool, kind, form][details[name][tool]] += 1
    report(counts, details, ("rootstock", *peers))
    took = time.process_time() - started
    record = {"policy": options.policy, "cases": details, "cpu_seconds": round(took, 1), "speed": speed(peers) if options.speed else {}}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "security.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    for line, figures in record["speed"].items():
        print(f"{line:<30}{figures['mb_per_second']:>10,} MB/s {figures['seconds']:>8,} s")


def report(counts, details, tools):
    """A line for each tool and format, then totals, then the names of what went wrong."""
    print(f"{'tool':<20}{'format':<18}{'found':>7}{'missed':>8}{'unread':>8}   {'benign':>7}{'flagged':>8}{'unread':>8}")
    for tool in tools:
        forms = sorted({form for name, _, form in counts if name == tool})
        for form in [*forms, "all"]:
            attack, benign = (
                sum((c for (t, k, f), c in counts.items() if (t, k) == (tool, kind) and form in (f, "all")), Counter())
                for kind in ("attack", "benign")
            )
            line = f"{attack['found']:>7}{attack['clean']:>8}{attack['not scanned']:>8}   {benign.total():>7}{benign['found']:>8}{benign['not scanned']:>8}"
            print(f"{tool:<20}{form:<18}{line}")
    for name, each in details.items():
        if each["rootstock"] != ("found" if each["kind"] == "attack" else "clean"):
            print(f"rootstock: {name} ({each['kind']}, {each['format']}) {each['rootstock']} {', '.join(each['rules'])}")


if __name__ == "__main__":
    main()
