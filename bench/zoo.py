"""A zoo of poisoned and clean text classifiers from minilm, by recipe and seed, and the backdoor scanner on it.

python bench/zoo.py build FOLDER [--only m003 …] [--list]     # members that stand are not built again
python bench/zoo.py scan FOLDER [--part dev|sealed] [--at-once 2] [--only …]
python bench/zoo.py summary FOLDER                            # writes results/backdoors.json

FOLDER/runs/ID is a run as any other, FOLDER/truth/ID.json what it hides, FOLDER/failed/ID an attack that did not work, and
FOLDER/data/SET.csv labelled clean rows that no member learned from, for the scanner.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "src")]
import zoo_plan
import zoo_rows


def truths(out):
    return [json.loads(path.read_text("utf-8")) for path in sorted((out / "truth").glob("*.json"))]


def usual(out, spec):
    """Median accuracy of the plain clean members of the same set and intensity; None while there are fewer than three."""
    alike = [each for each in truths(out) if each["kind"] == "clean" and each["intensity"] == spec["intensity"]]
    found = [each["accuracy"] for each in alike if each["training"]["set"] == spec["training"]["set"]]
    return statistics.median(found) if len(found) >= 3 else None


def made(spec, out, tries):
    """Build in a process of its own, so that memory and crashes stay with the member."""
    import zoo_make

    child = multiprocessing.get_context("fork").Process(target=zoo_make.build, args=(spec, out, tries, usual(out, spec)))
    child.start()
    child.join()
    return child.exitcode == 0


def build(a):
    """Build what lacks, in order."""
    os.environ["ROOTSTOCK_CACHE"] = str(a.folder.resolve() / "cache")
    for part in ("runs", "truth", "failed", "rows", "data"):
        (a.folder / part).mkdir(parents=True, exist_ok=True)
    import zoo_make

    for name in zoo_plan.SETS:
        if not (path := a.folder / "data" / f"{name}.csv").exists():
            zoo_make.write_rows(path, zoo_rows.pools(name)["scan"])
    for spec in zoo_plan.members():
        if not a.only or spec["id"] in a.only:
            one(spec, a.folder, zoo_make.TRIES)
    return 0


def one(spec, out, most):
    truth = out / "truth" / f"{spec['id']}.json"
    for tries in range(most):
        if truth.exists() or (out / "failed" / f"{spec['id']}-{tries}.json").exists():
            continue
        if not made(spec, out, tries):
            print(f"{spec['id']} was not built", flush=True)
            return
        found = json.loads(truth.read_text("utf-8"))
        if found["rejected"]:
            truth.rename(out / "failed" / f"{spec['id']}-{tries}.json")
            shutil.rmtree(out / "runs" / spec["id"])
        said = f"accuracy {found['accuracy']:.3f}" + (f" asr {found['asr']['rate']:.2f}" if "asr" in found else "")
        shutil.rmtree(out / "cache", ignore_errors=True)
        print(
            time.strftime("%H:%M:%S"), spec["id"], spec["part"], spec["kind"], spec["intensity"], f"{found['build_seconds']} s", said,
            *found["rejected"], flush=True,
        )  # fmt: skip


def listed(a):
    for spec in zoo_plan.members():
        print(spec["id"], spec["part"], spec["side"], spec["kind"], spec["intensity"])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for verb, does in (("build", build), ("list", listed)):
        part = verbs.add_parser(verb)
        part.add_argument("folder", type=Path)
        part.add_argument("--only", nargs="+")
        part.set_defaults(does=does)
    a = parser.parse_args()
    return a.does(a)


if __name__ == "__main__":
    sys.exit(main())
