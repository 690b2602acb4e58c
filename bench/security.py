"""The sentinel on a catalogue of attack files and benign ones, beside other scanners; writes results/security.json.

    python bench/security.py [--root FOLDER] [--policy standard] [--only pickle onnx] [--speed]
    python bench/security.py --only --speed      # the speed alone, which is results/security-speed.json

ROOTSTOCK_PEER names a virtual environment with picklescan==1.0.5, modelscan==0.8.8, fickling==0.1.12 or modelaudit==0.2.54; those that are
there run as commands, one process a case. ROOTSTOCK_SECURITY is another folder of cases, ROOTSTOCK_RESULTS another one for results.

found: the policy refuses a finding that is no mere "not scanned". not scanned: refused only because a part could not be read. For a peer:
found is exit code 1 (modelscan too), clean 0, all else counts as not scanned. --speed makes large files in a temporary folder, one
after the other, and takes the time of the whole command, start included, beside modelaudit and (pickles alone) picklescan.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from scan_files import FILES

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
MOST = 100
"""Seconds that one command of --speed may take: modelaudit needs more for a pickle of many objects."""
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
    """Wall seconds, processor seconds and peak megabytes of a command, which is ended after MOST seconds."""
    started = time.perf_counter()
    child = subprocess.Popen(
        ["timeout", str(MOST), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **QUIET}
    )
    _, _, used = os.wait4(child.pid, 0)
    child.returncode = 0
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def speed(peers, rounds):
    """Whole commands on large files, one tool after the other in each round; medians of wall and processor seconds, MB/s of wall time."""
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            path = Path(folder, name)
            # by a process of its own: a child's peak begins with its parent's size
            subprocess.run([sys.executable, HERE / "scan_files.py", path], check=True)
            size = path.stat().st_size / 1e6
            commands = {"rootstock": [sys.executable, "-m", "rootstock", "scan", path]}
            reads = [
                peer for peer in peers if peer in ("picklescan", "modelaudit") and (peer == "modelaudit" or path.suffix in (".pkl", ".pt"))
            ]
            commands |= {peer: [PEER / "bin" / peers[peer][0], *peers[peer][1:], path] for peer in reads}
            took = {tool: [] for tool in commands}
            for _ in range(rounds):
                for tool, command in commands.items():
                    took[tool].append(seconds(command))
            for tool, found in took.items():
                wall, processor, peak = map(statistics.median, zip(*found, strict=True))
                figures = {"megabytes": round(size, 1), "mb_per_second": round(size / wall, 2), "seconds": round(wall, 3)}
                table[f"{name} {tool}"] = figures | {"cpu_seconds": round(processor, 3), "peak_mb": round(peak)}
            path.unlink()
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--policy", default="standard")
    parser.add_argument("--only", nargs="*", help="formats of the catalogue; none where none follows")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="of --speed")
    options = parser.parse_args()
    peers = {name: words for name, words in PEERS.items() if (PEER / "bin" / words[0]).is_file()}
    counts, details, started = defaultdict(Counter), {}, time.process_time()
    for name, kind, form, folder in cases(options.root):
        if options.only is not None and form not in options.only:
            continue
        verdict, rules = ours(folder, options.policy)
        details[name] = {"kind": kind, "format": form, "rootstock": verdict, "rules": rules}
        details[name] |= {peer: theirs(words, folder) for peer, words in peers.items()}
        for tool in ("rootstock", *peers):
            counts[tool, kind, form][details[name][tool]] += 1
    report(counts, details, ("rootstock", *peers))
    record = {"policy": options.policy, "cases": details, "cpu_seconds": round(time.process_time() - started, 1)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    if details:
        (RESULTS / "security.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    if options.speed:
        found = speed(peers, options.rounds)
        (RESULTS / "security-speed.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        for line, each in found.items():
            print(f"{line:<32}{each['mb_per_second']:>10,} MB/s {each['seconds']:>8,} s {each['peak_mb']:>7,} MB")


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
