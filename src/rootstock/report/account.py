"""What the model saw: lengths and where they are cut, label balance, and the findings of the ledger."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rootstock.report import charts, words
from rootstock.report.charts import FIRST, SECOND, THIRD, Chart, Table
from rootstock.report.facts import AMOUNTS, Facts, dig

BARS = 30
"""Most labels drawn as bars; all are in the table."""
_MEANING = {
    "truncation": "rows longer than what is kept of them",
    "empty": "rows without text",
    "contradictions": "training rows with the text of another row and a different label",
    "overlap": "validation rows that also occur in training",
    "duplicates": "training rows that repeat an earlier one",
    "unlabelled": "rows without a label, left out",
}
_MORE = {"first_row": "repeats row", "train_row": "is training row", "tokens": "tokens:", "label": "label:", "labels": "labels seen:"}


@dataclass(frozen=True)
class Example:
    """A row with a finding. notes: what is odd about it."""

    where: str
    text: str
    notes: str


@dataclass(frozen=True)
class Finding:
    """One finding of the ledger beside its limit. state: clean, within or accepted (above its limit, and accepted by name)."""

    name: str
    meaning: str
    count: str
    share: str
    limit: str
    state: str
    examples: list[Example]


def lengths(facts: Facts) -> Chart | None:
    """Rows by their length in tokens, and where they are cut."""
    found = dig(facts, "ledger", "lengths", default={})
    bins, counts = found.get("bins") or [], found.get("counts") or []
    if len(bins) != len(counts) + 1 or not sum(counts):
        return None
    widths = [high - low for low, high in pairwise(bins)]
    # a bin that holds one more length than its neighbour is no peak: height is rows for each length
    heights = [count / width for count, width in zip(counts, widths, strict=True)]
    bars = {
        "type": "bar",
        "x": [low + width / 2 - 0.5 for low, width in zip(bins, widths, strict=False)],
        "y": heights,
        "width": [0.92 * width for width in widths],
        "customdata": [[low, high - 1, count] for (low, high), count in zip(pairwise(bins), counts, strict=True)],
        "hovertemplate": "%{customdata[0]} to %{customdata[1]} tokens<br>%{customdata[2]} rows<extra></extra>",
        "marker": {"color": FIRST},
    }
    kept, more = found.get("kept"), {}
    if words.is_number(kept):
        cut = {"type": "line", "x0": kept + 0.5, "x1": kept + 0.5, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": SECOND, "width": 2}}
        said = {
            "x": kept + 0.5,
            "y": 1,
            "yref": "paper",
            "text": f"kept: {kept:,} ",
            "showarrow": False,
            "xanchor": "right",
            "font": {"color": SECOND, "size": 12},
        }
        more = {"shapes": [cut], "annotations": [said]}
    figure = charts.figure([bars], x=charts.axis("tokens in a row"), y=charts.axis("rows for each length"), height=300, **more)
    share = list(found.get("percentiles", {}).items())
    table = (
        Table(("of all rows", "have at most"), [(f"{name} %", f"{words.count(value)} tokens") for name, value in share]) if share else None
    )
    return Chart(key="lengths", title="Length of the rows", sentence=_cut(facts, found), figure=figure, table=table)


def _cut(facts: Facts, found: dict[str, Any]) -> str:
    cut = dig(facts, "ledger", "findings", "truncation", default={})
    said = f"The longest of all rows has {words.count(found.get('longest'))} tokens, the mean is {_one(found.get('mean'))}; "
    said += f"{words.count(found.get('kept'))} are kept. "
    if found.get("parted"):
        return said + "What is longer is read in pieces that overlap: nothing is cut."
    number = cut.get("count", 0)
    return said + (
        f"{words.several(number, 'row')} ({words.percent(cut.get('share'))}) {'is' if number == 1 else 'are'} cut there."
        if number
        else "No row is cut."
    )


def _one(value: Any) -> str:
    return f"{value:,.1f}" if words.is_number(value) else "–"


def shorter(facts: Facts) -> Table | None:
    """What a shorter length would cut."""
    found = dig(facts, "ledger", "truncation", default=[])
    longest = dig(facts, "ledger", "lengths", "longest", default=0)
    cuts = [each for each in found if each.get("length", 0) < longest]
    rows = [
        (words.count(c.get("length")), words.count(c.get("rows")), words.percent(c.get("share")), words.percent(c.get("tokens_share")))
        for c in cuts
    ]
    return Table(("length", "rows cut", "share of rows", "share of tokens lost"), rows) if rows else None


@dataclass(frozen=True)
class _Side:
    """Rows of each label on one side. rows: all of its rows; with several labels a row the counts add up to more."""

    name: str
    counts: dict[str, int]
    rows: int
    colour: str

    def share(self, label: str) -> float:
        return self.counts.get(label, 0) / max(self.rows, 1)

    def bars(self, labels: list[str]) -> dict[str, Any]:
        return {
            "type": "bar",
            "orientation": "h",
            "name": self.name,
            "y": list(range(len(labels))),
            "x": [100 * self.share(label) for label in labels],
            "customdata": [self.counts.get(label, 0) for label in labels],
            "hovertemplate": "%{customdata} rows, %{x:.1f} %<extra></extra>",
            "marker": {"color": self.colour},
        }


def balance(facts: Facts) -> Chart | None:
    """How often each label occurs, on both sides."""
    if dig(facts, "kind") in AMOUNTS or not dig(facts, "ledger", "labels"):
        return None
    train, held = _side(facts, "train", "training", FIRST), _side(facts, "validation", "validation", THIRD)
    labels = sorted(train.counts, key=lambda name: -train.counts[name]) + sorted(set(held.counts) - set(train.counts))
    shown = labels[:BARS]
    y = charts.named(shown, autorange="reversed", showgrid=False)
    x = charts.axis("% of the rows", rangemode="tozero")
    tall = 110 + (34 if len(shown) < 12 else 22) * len(shown)
    figure = charts.figure([train.bars(shown), held.bars(shown)], x=x, y=y, height=tall, bargap=0.3)
    rows = [
        (label, *(text for side in (train, held) for text in (words.count(side.counts.get(label, 0)), words.percent(side.share(label)))))
        for label in labels
    ]
    table = Table(("label", "training", "share", "validation", "share"), rows)
    return Chart(key="labels", title="Label balance", sentence=_balanced(train.counts, labels, len(shown)), figure=figure, table=table)


def _side(facts: Facts, key: str, name: str, colour: str) -> _Side:
    counts = dig(facts, "ledger", "labels" if key == "train" else "validation_labels", default={})
    return _Side(name, counts, dig(facts, "ledger", "rows", key) or sum(counts.values()), colour)


def _balanced(train: dict[str, int], names: list[str], shown: int) -> str:
    least = min(train, key=lambda name: train[name])
    most = words.several(train[names[0]], "training row")
    said = f"{words.several(len(names), 'label')}. The most frequent is “{words.short(names[0], 60)}” with {most}"
    said += f", the rarest “{words.short(least, 60)}” with {train[least]:,}."
    return said + (f" Drawn are the {shown} most frequent; the table has all." if shown < len(names) else "")


def numbers(facts: Facts) -> Table | None:
    """The labels of a regression in a few figures."""
    train, held = (dig(facts, "ledger", name, default={}) for name in ("labels", "validation_labels"))
    if dig(facts, "kind") not in AMOUNTS or not train:
        return None
    rows = [
        (name, *(words.count(side.get(name)) if name == "count" else words.figure(side.get(name)) for side in (train, held)))
        for name in train
    ]
    return Table(("labels", "training", "validation"), rows)


def findings(facts: Facts) -> list[Finding]:
    """Every finding with its share, its limit and its first rows."""
    return [_finding(name, each) for name, each in dig(facts, "ledger", "findings", default={}).items()]


def _finding(name: str, found: dict[str, Any]) -> Finding:
    count, share, limit = found.get("count", 0), found.get("share", 0.0), found.get("limit")
    state = "clean" if not count else "accepted" if words.is_number(limit) and share > limit else "within"
    examples = [_example(each) for each in found.get("examples") or []]
    return Finding(name, _MEANING.get(name, ""), words.count(count), words.percent(share), words.percent(limit, 0), state, examples)


def _example(found: dict[str, Any]) -> Example:
    notes = [
        f"{said} {', '.join(map(str, found[key])) if isinstance(found[key], list) else found[key]}"
        for key, said in _MORE.items()
        if key in found
    ]
    return Example(f"row {found.get('row', '?')} of {found.get('in', 'the file')}", str(found.get("text", "")), "; ".join(notes))
