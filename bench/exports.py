"""A run of a real base written for other runtimes: size, agreement with the run, and rows a second beside it; writes results/exports.json.

python bench/exports.py FOLDER [--minutes 1] [--rows 200] [--held 400]     sst2 under ROOTSTOCK_DATA; needs the extras minilm, onnx and gguf

The run learns from few rows: what is asked is whether other runtimes answer as it does, not how good it is.
"""

import argparse
import csv
import gzip
import json
import os
import random
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))
RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))
FORMS = ("onnx", "int8", "gguf")


def rows(path: Path, count: int, seed: int) -> list[list[str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        return random.Random(seed).sample([line.rstrip("\n").split("\t") for line in stream], count)


def write(path: Path, found: list[list[str]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *found])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--held", type=int, default=400)
    options = parser.parse_args()
    import rootstock
    from rootstock.core.errors import RootstockError
    from rootstock.verbs.export import export
    from rootstock.verbs.exporting import Options

    data = Path(os.environ["ROOTSTOCK_DATA"]) / "sst2"
    options.folder.mkdir(parents=True, exist_ok=True)
    train = write(options.folder / "rows.csv", rows(data / "train.tsv.gz", options.rows, 0))
    held = write(options.folder / "held.csv", rows(data / "dev.tsv", options.held, 1))
    place = options.folder / "run"
    if not (place / "manifest.json").exists():
        budget = {"minutes": options.minutes}
        rootstock.adapt(train, base=options.base, method="full", out=place, budget=budget, accept=["duplicates", "contradictions"])
    model = sum(path.stat().st_size for path in (place / "model").glob("*.safetensors"))
    found: dict = {"base": options.base, "rows": options.rows, "held": options.held, "model_bytes": model}
    for form in FORMS:
        try:
            facts = export([place], form, options.folder / form, Options(rows=str(held)), print)
            found[form] = {name: facts[name] for name in ("bytes", "whole_bytes", "compared", "speed", "versions") if name in facts}
        except RootstockError as error:
            found[form] = {"refused": str(error)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "exports.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
