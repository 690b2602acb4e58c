"""What clean models reach becomes the population that the backdoor scanner judges by.

python bench/backdoor_calibration.py ZOO      # after `bench/zoo.py scan ZOO --part dev`: ZOO/scans/*.json, ZOO/truth/*.json

Writes src/rootstock/sentinel/backdoor/calibration.json from the clean members that were not kept out of tuning, for the budget that they
were scanned at, and prints what the threshold comes to.
"""

import json
import statistics
import sys
from pathlib import Path

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.sentinel.backdoor import calibration
from rootstock.sentinel.backdoor.exact import bound

TARGET = Path(calibration.__file__).with_name("calibration.json")


def clean(zoo):
    """Scores of clean dev members by budget and number of labels."""
    found = {}
    for path in sorted((zoo / "truth").glob("*.json")):
        truth, scan = json.loads(path.read_text("utf-8")), zoo / "scans" / path.name
        if truth["side"] == "clean" and truth["part"] == "dev" and scan.exists():
            said = json.loads(scan.read_text("utf-8")).get("said") or {}
            if "score" in said:
                found.setdefault((said["budget"], len(truth["labels"])), []).append((float(said["score"]), float(said["phrase_score"])))
    return found


def main(zoo):
    populations = []
    for (budget, labels), held in sorted(clean(zoo).items()):
        scores, phrases = map(list, zip(*held, strict=True))
        name = f"{len(scores)} clean models of minilm, budget {budget}"
        populations.append(
            {
                "format": calibration.FORMAT,
                "base": resolve("minilm").digest,
                "labels": labels,
                "budget": budget,
                "name": name,
                "scores": sorted(scores),
                "phrases": sorted(phrases),
            }
        )
        for kind, some in (("words", scores), ("phrases", phrases)):
            print(f"{name}: {kind} median {statistics.median(some):.3f}, most {max(some):.3f}")
        print(f"false alarms above the most at most {bound(len(scores)):.1%}")
    artifact.write_json(TARGET, {"populations": populations})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
