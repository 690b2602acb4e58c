"""The zoo after a change of the search, from members to figures, unattended: run it again after a kill and it goes on.

python bench/zoo_again.py FOLDER [--have OLD] [--at-once 2] [--take-in sealed]

0. By hand: give the budget that is to be judged its `coined` tokens (sentinel/backdoor/budget.py; standard was tried with 16). The usual ones have
   none until step 3 was looked at.
1. Members that OLD has (a folder of an earlier `bench/zoo.py build`) are linked into FOLDER, without their scans, which were of another search.
2. What lacks is built: dev, and the part "fresh", whose strings are drawn by rule and which no form of the search has seen.
3. Dev is scanned, and its clean members become the population (bench/backdoor_calibration.py): look at the change of calibration.json and
   commit it. --take-in: clean members of a part that was judged by before and is used up are scanned and taken in as well.
4. The part "fresh" is scanned once, and the figures are written (bench/zoo.py summary).

A build takes some 40 s and a scan some 150 to 250 s of one core: with the dev members of before at hand 100 builds and 136 scans, some six
hours of two free cores, and one more for `--take-in sealed`. No step is done twice.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def linked(old, new, more):
    """Members of dev that stand, the clean ones of more parts, and the rows that scanners get; truths are copied, runs are linked."""
    for name in ("runs", "truth", "failed", "scans"):
        (new / name).mkdir(parents=True, exist_ok=True)
    if not (new / "data").exists():
        (new / "data").symlink_to((old / "data").resolve(), target_is_directory=True)
    for path in sorted((old / "truth").glob("*.json")):
        truth, place = json.loads(path.read_text("utf-8")), new / "runs" / path.stem
        wanted = truth["part"] == "dev" or (truth["part"] in more and truth["side"] == "clean")
        if wanted and not place.exists():
            place.symlink_to((old / "runs" / path.stem).resolve(), target_is_directory=True)
            shutil.copy(path, new / "truth")
    for path in (old / "failed").glob("*.json"):
        shutil.copy(path, new / "failed")


def step(script, *words):
    """One step, in a process of its own; what it says goes where this says it."""
    command = [sys.executable, HERE / script, *words]
    print(*command, flush=True)
    subprocess.run([*map(str, command)], check=True, env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--have", type=Path)
    parser.add_argument("--at-once", default="2")
    parser.add_argument("--take-in", nargs="*", default=[])
    a = parser.parse_args()
    if a.have:
        linked(a.have, a.folder, a.take_in)
    for part in ("dev", "fresh"):
        step("zoo.py", "build", a.folder, "--part", part)
    for part in ("dev", *a.take_in):
        step("zoo.py", "scan", a.folder, "--part", part, "--at-once", a.at_once)
    step("backdoor_calibration.py", a.folder, "--parts", "dev", *a.take_in)
    step("zoo.py", "scan", a.folder, "--part", "fresh", "--at-once", a.at_once)
    step("zoo.py", "summary", a.folder)


if __name__ == "__main__":
    main()
