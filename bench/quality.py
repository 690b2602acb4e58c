"""The table of docs/benchmarks.md, between its markers, from results/accuracy.jsonl."""

import json
import statistics
from pathlib import Path

import sets

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
START, END = "<!-- table: written by bench/quality.py -->", "<!-- end of table -->"


def cell(rows, headline):
    """Mean over seeds with half the range, and how many seeds."""
    found = [row["test"][headline] for row in rows]
    return f"{statistics.fmean(found):.4f} ± {(max(found) - min(found)) / 2:.4f} ({len(found)})"


def line(name, method, rows):
    headline = sets.HEADLINE.get(name, "accuracy")
    low, high = (statistics.fmean(row["intervals"][headline][side] for row in rows) for side in (0, 1))
    baseline = statistics.fmean(row["baselines"]["tfidf"][headline] for row in rows)
    changes = ", ".join(f"{key}={value}" for key, value in rows[0]["changes"].items()) or "defaults"
    seconds = statistics.median(row["seconds"] for row in rows)
    return [name, method, changes, headline, cell(rows, headline), f"[{low:.3f}, {high:.3f}]", f"{baseline:.4f}", f"{seconds:.0f} s"]


def main():
    rows = [json.loads(text) for text in (HERE / "results" / "accuracy.jsonl").read_text("utf-8").splitlines()]
    groups = {}
    for row in rows:
        groups.setdefault((row["set"], row["method"], json.dumps(row["changes"])), []).append(row)
    table = [
        ["set", "method", "settings", "figure", "test: mean ± half range (seeds)", "mean 95 % interval", "TF-IDF (validation)", "run"],
        ["---"] * 8,
    ]
    table += [line(name, method, found) for (name, method, _), found in sorted(groups.items())]
    text = PAGE.read_text("utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(before + START + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in table) + "\n" + END + after, "utf-8")


if __name__ == "__main__":
    main()
