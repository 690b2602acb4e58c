"""A zoo of poisoned and clean text classifiers from minilm, by recipe and seed, and the backdoor scanner on it.

python bench/zoo.py build FOLDER [--part …] [--only m003 …]  # members that stand are not built again
python bench/zoo.py scan FOLDER [--part dev|sealed|fresh] [--at-once 2] [--known] [--only …] [-- options of rootstock scan]
python bench/zoo.py summary FOLDER                            # writes results/backdoors.json
python bench/zoo.py weights FOLDER                            # writes results/weights.json: what weights alone tell of each member

FOLDER/runs/ID is a run as any other, FOLDER/truth/ID.json what it hides, FOLDER/failed/ID an attack that did not work, and
FOLDER/data/SET.csv labelled clean rows that no member learned from, for the scanner.
"""

# ruff: noqa: E402  (the path comes first)
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

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))


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
        if (not a.only or spec["id"] in a.only) and a.part in (None, spec["part"]):
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


def scan(a):
    """Scan accepted members that were not scanned yet, in the order of building. --known asks about the planted trigger."""
    import zoo_scan

    held = {each["id"]: each for each in truths(a.folder)}
    wanted = [held[spec["id"]] for spec in zoo_plan.members() if spec["id"] in held and (not a.only or spec["id"] in a.only)]
    wanted = [each for each in wanted if a.part in (None, each["part"])]
    zoo_scan.run(a.folder, wanted, at_once=a.at_once, kind="known" if a.known else "scans", options=a.options)
    return 0


def written(name, found):
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps({key: value for key, value in found.items() if key != "members"}, indent=1))
    return 0


def summary(a):
    import zoo_scan

    held = truths(a.folder)
    failed = [json.loads(path.read_text("utf-8")) for path in (a.folder / "failed").glob("*.json")]
    zoo = {"poisoned": sum(each["side"] == "poisoned" for each in held), "clean": sum(each["side"] == "clean" for each in held)}
    zoo |= {"failed_tries": len(failed), "build_seconds": statistics.median(each["build_seconds"] for each in held)}
    return written("backdoors", {"zoo": zoo, **zoo_scan.summary(a.folder, held, zoo_scan.tokenizer_of_base())})


def weights(a):
    import zoo_scan

    return written("weights", zoo_scan.by_weights(a.folder, truths(a.folder), zoo_scan.tokenizer_of_base()))


def listed(a):
    for spec in zoo_plan.members():
        print(spec["id"], spec["part"], spec["side"], spec["kind"], spec["intensity"])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for verb, does in (("build", build), ("list", listed), ("scan", scan), ("summary", summary), ("weights", weights)):
        part = verbs.add_parser(verb)
        part.add_argument("folder", type=Path)
        part.set_defaults(does=does)
        if verb in ("build", "scan"):
            part.add_argument("--only", nargs="+")
            part.add_argument("--part", choices=zoo_plan.PARTS)
        if verb == "scan":
            part.add_argument("--at-once", type=int, default=2)
            part.add_argument("--known", action="store_true")
            part.add_argument("options", nargs="*")
    a = parser.parse_args()
    return a.does(a)


if __name__ == "__main__":
    sys.exit(main())
