"""The data report on its own: what a run would see, without a run."""

from pathlib import Path
from typing import Any

from rootstock.core.recipe import Recipe
from rootstock.core.watch import Say
from rootstock.report.words import several
from rootstock.run.prepare import prepare
from rootstock.run.prepared import LabelledRows
from rootstock.verbs import glimpse


def inspect(data: str | Path, **sections: Any) -> dict[str, Any]:
    """The data ledger of a file, as `rootstock inspect` prints it. sections: of a recipe, as plain values."""
    values = {"data": {"train": str(data), **sections.pop("data", {})}, "method": {"name": "full"}, **sections}
    return examine(Recipe.build(values, "").anchored(Path.cwd()), lambda text: None)


def examine(recipe: Recipe, say: Say, *, show: int = 0) -> dict[str, Any]:
    """The ledger that a recipe's rows give; rows without a label are counted, not refused. show: how many rows' tokens go with it."""
    if show:
        glimpse.check(recipe)
    training = recipe.training.model_copy(update={"epochs": 1})  # nothing is trained: no word on how long it would take
    chosen = recipe.model_copy(update={"method": {"name": "full"}, "training": training, "accept": (*recipe.accept, "unlabelled")})
    prepared = prepare(chosen, say)
    return prepared.ledger | ({"shown": glimpse.glimpse(prepared, show)} if show and isinstance(prepared, LabelledRows) else {})


def as_text(ledger: dict[str, Any]) -> str:
    """The ledger for a person."""
    lengths = ledger["lengths"]
    spread = ", ".join(f"{share} % up to {length:.0f}" for share, length in lengths.get("percentiles", {}).items())
    lines = [
        _line("rows", ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in ledger["rows"].items())),
        *([_line("labels", _listed(ledger["labels"]))] if ledger["labels"] else []),
        _line("tokens a row", f"{lengths['mean']:.1f} on average, longest {lengths['longest']:,}; {spread}"),
        *_bars(lengths),
        _line("padding", f"{ledger['padding_share']:.1%} of the tokens in the planned batches"),
    ]
    for name, found in ledger["findings"].items():
        over = "   ABOVE ITS LIMIT" if found["share"] > found["limit"] else ""
        lines.append(_line(name, f"{several(found['count'], 'row')}, {found['share']:.2%} (limit {found['limit']:.0%}){over}"))
        lines += [
            _line("", f"row {example['row']}: {str(example.get('text', example.get('label', '')))[:90]}") for example in found["examples"]
        ]
    cuts = (f"{cut['share']:.1%} of rows at {cut['length']}" for cut in ledger["truncation"])
    shown = ["", *glimpse.as_text(ledger["shown"])] if "shown" in ledger else []
    return "\n".join([*lines, _line("a cut would hit", ", ".join(cuts) or "nothing"), *shown])


def _line(name: str, text: str) -> str:
    return f"{name:<17}{text}".rstrip()


def _listed(labels: dict[str, Any]) -> str:
    shown = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}" for name, value in list(labels.items())[:12]
    )
    return shown + (f" … {len(labels)} in all" if len(labels) > 12 else "")


def _bins(lengths: dict[str, Any]) -> list[tuple[int, int, int]]:
    """The histogram in at most twelve bins: the least length of each, the least of the next, and its rows."""
    edges, counts = lengths["bins"], lengths["counts"]
    step = -(-len(counts) // 12)
    return [(edges[i], edges[min(i + step, len(counts))], sum(counts[i : i + step])) for i in range(0, len(counts), step)]


def _bars(lengths: dict[str, Any]) -> list[str]:
    """A line for each bin, its bar beside that of the fullest one."""
    bins = _bins(lengths)
    most = max(count for _, _, count in bins)
    return [_line("", f"{start:>5}–{end - 1:<5} {'█' * round(30 * count / max(most, 1))} {count:,}") for start, end, count in bins]
