"""The table of docs/performance.md, between its markers, from results/performance.json, layers.json and kills.json."""

import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
START, END = "<!-- table: written by bench/table.py -->", "<!-- end of table -->"


def median(rows, peer, figure):
    """Median of a figure over a peer's runs, or None where it has none."""
    found = [row[figure] for row in rows if row["peer"] == peer and row.get(figure) is not None]
    return statistics.median(found) if found else None


def spread(rows, peer, figure):
    found = [row[figure] for row in rows if row["peer"] == peer]
    return f"{min(found):.4g}–{max(found):.4g}" if len(found) > 1 else f"{found[0]:.4g}"


def best(rows, start, figure):
    """The highest median among peers whose name starts so: the peer at its best batch size."""
    names = {row["peer"] for row in rows if row["peer"].startswith(start)}
    return max((median(rows, name, figure), name) for name in names)


def rate_line(rows, what, mine, peer):
    ours, theirs = median(rows, mine, "samples_per_s"), median(rows, peer, "samples_per_s")
    return [
        what,
        f"{ours:.1f} rows/s ({spread(rows, mine, 'samples_per_s')})",
        f"{theirs:.1f} rows/s ({spread(rows, peer, 'samples_per_s')})",
        f"{ours / theirs:.2f}×",
    ]


def training_lines(parts):
    lines = []
    for method, suffix in (("full", ""), ("lora", "-lora")):
        if rows := parts.get(method):
            for mode in ("default", "tuned"):
                lines.append(rate_line(rows, f"`{method}` against {mode}", f"rootstock-{method}", f"hf-trainer-{mode}{suffix}"))
            lines.append(accuracy_line(rows, method, f"hf-trainer-default{suffix}", f"hf-trainer-tuned{suffix}"))
    if rows := parts.get("busy"):
        lines.append(rate_line(rows, "`full` beside a busy process, against default", "rootstock-full-busy", "hf-trainer-default-busy"))
    return lines


def accuracy_line(rows, method, *peers):
    """Mean accuracies over the seeds, beside the better of the peers."""
    means = {name: statistics.fmean(row["accuracy"] for row in rows if row["peer"] == name) for name in (f"rootstock-{method}", *peers)}
    mine, theirs = means[f"rootstock-{method}"], max(means[name] for name in peers)
    return [f"`{method}`, mean dev accuracy", f"{mine:.4f}", f"{theirs:.4f}", f"{100 * (mine - theirs):+.2f} points"]


def feature_lines(rows):
    first, again, peer = (median(rows, name, "wall_s") for name in ("rootstock-features", "rootstock-features-cached", "sbert-logreg"))
    work = median(rows, "sbert-logreg", "fit_s") + median(rows, "sbert-logreg", "predict_s")
    accuracy = [median(rows, name, "accuracy") for name in ("rootstock-features", "sbert-logreg")]
    return [
        [
            "`feature-extraction`, whole command",
            f"{first:.1f} s",
            f"{peer:.1f} s whole, {work:.1f} s fit and predict",
            f"{peer / first:.2f}× ({work / first:.2f}×)",
        ],
        [
            "`feature-extraction`, test accuracy",
            f"{accuracy[0]:.4f}",
            f"{accuracy[1]:.4f}",
            f"{100 * (accuracy[0] - accuracy[1]):+.2f} points",
        ],
        ["`feature-extraction`, second run", f"{again:.1f} s", "", ""],
    ]


def prediction_lines(rows):
    ours, plain = median(rows, "rootstock-predict", "samples_per_s"), [row for row in rows if not row["peer"].endswith("bf16")]
    peers = {
        "the textbook loop": (median(rows, "textbook-loop", "samples_per_s"), ""),
        "pipeline at its best": best(plain, "hf-pipeline", "samples_per_s"),
        "pipeline in bf16 at its best": best([row for row in rows if row["peer"].endswith("bf16")], "hf-pipeline", "samples_per_s"),
    }
    return [
        [f"prediction against {what}" + (f" ({name})" if name else ""), f"{ours:.1f} rows/s", f"{rate:.1f} rows/s", f"{ours / rate:.2f}×"]
        for what, (rate, name) in peers.items()
    ]


def peak_lines(rows):
    ours = median(rows, "rootstock-128-tokens", "gflops")
    peaks = {kind: median(rows, "gemm-peak", f"{kind}_gflops") for kind in ("float32", "bfloat16")}
    return [
        [
            "`full` on 128-token rows, 6·N·tokens",
            f"{ours:.0f} GFLOP/s",
            f"peak fp32 {peaks['float32']:.0f}, bf16 {peaks['bfloat16']:.0f}",
            " and ".join(f"{ours / value:.0%} of {kind}" for kind, value in peaks.items()),
        ]
    ]


def answer_lines(rows):
    names = dict.fromkeys(row["peer"] for row in rows)
    return [[f"`{name}`", f"{median(rows, name, 'wall_s'):.2f} s ({spread(rows, name, 'wall_s')})", "", ""] for name in names]


def layer_lines(path):
    """Above frozen blocks, with what they give kept against computed at each step: from an empty cache, and from a full one."""
    if not path.exists():
        return []
    return [
        [
            f"`{method}` above frozen blocks, {precision}, kept against computed each time",
            f"{part['rates']['first']:.1f} rows/s, {part['rates']['again']:.1f} from the cache",
            f"{part['rates']['without']:.1f} rows/s",
            " and ".join(f"{part['rates'][how] / part['rates']['without']:.2f}×" for how in ("first", "again")),
        ]
        for precision, methods in json.loads(path.read_text())["parts"].items()
        for method, part in methods.items()
    ]


def kill_lines(path):
    if not path.exists():
        return []
    each = [kill for kill in json.loads(path.read_text())["each"] if not kill["ended_before"]]
    return [
        [
            f"{len(each)} kills (SIGKILL) of a run under way, then --resume",
            f"{sum(kill['identical'] for kill in each)} bit-identical",
            "",
            "",
        ]
    ]


def write(results):
    """Replace what stands between the markers."""
    parts = json.loads(results.read_text())["parts"]
    lines = training_lines(parts)
    lines += feature_lines(parts["features"]) if "features" in parts else []
    lines += prediction_lines(parts["predict"]) if "predict" in parts else []
    lines += peak_lines(parts["peak"]) if "peak" in parts else []
    lines += answer_lines(parts["answers"]) if "answers" in parts else []
    lines += layer_lines(results.with_name("layers.json"))
    lines += kill_lines(results.with_name("kills.json"))
    rows = [["figure", "ours", "peer", "ratio"], ["---"] * 4, *lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text = PAGE.read_text("utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{table}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    write(HERE / "results" / "performance.json")
