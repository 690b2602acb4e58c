"""What clean models reach becomes the population that the backdoor scanner judges by.

python bench/backdoor_calibration.py ZOO [--parts dev sealed]      # after `bench/zoo.py scan ZOO --part dev`: ZOO/scans/*.json, ZOO/truth/*.json

Writes src/rootstock/sentinel/backdoor/calibration.json from the clean members that were not kept out of tuning, for the budget that they
were scanned at, and prints what the threshold comes to. Members of other parts that were judged by and are used up may be taken in.
"""

import argparse
import json
import statistics
from pathlib import Path

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.sentinel.backdoor import calibration
from rootstock.sentinel.backdoor.exact import bound

TARGET = Path(calibration.__file__).with_name("calibration.json")


SCORES = {"scores": "score", "phrases": "phrase_score", "outweigh": "outweigh_score"}


def clean(zoo, parts):
    """Scores of clean members by budget and number of labels, as the result names them; scans without one of them are left out."""
    found = {}
    for path in sorted((zoo / "truth").glob("*.json")):
        truth, scan = json.loads(path.read_text("utf-8")), zoo / "scans" / path.name
        if truth["side"] == "clean" and truth["part"] in parts and scan.exists():
            said = json.loads(scan.read_text("utf-8")).get("said") or {}
            if all(name in said for name in SCORES.values()):
                found.setdefault((said["budget"], len(truth["labels"])), []).append(said)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--parts", nargs="+", default=["dev"])
    a = parser.parse_args()
    populations = []
    for (budget, labels), held in sorted(clean(a.zoo, a.parts).items()):
        name = f"{len(held)} clean models of minilm, budget {budget}"
        scores = {kind: sorted(float(said[key]) for said in held) for kind, key in SCORES.items()}
        own = {"format": calibration.FORMAT, "base": resolve("minilm").digest, "labels": labels, "budget": budget}
        populations.append({**own, "name": name, **scores})
        for kind, some in scores.items():
            print(f"{name}: {kind} median {statistics.median(some):.3f}, most {max(some):.3f}")
        print(f"false alarms above the most at most {bound(len(held)):.1%}")
    artifact.write_json(TARGET, {"populations": populations})


if __name__ == "__main__":
    main()
