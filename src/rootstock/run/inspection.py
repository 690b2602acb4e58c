"""The data report on its own: what a run would see, without a run."""

from pathlib import Path
from typing import Any

from rootstock.core.recipe import Recipe
from rootstock.run.prepare import Say, prepare


def inspect(data: str | Path, **sections: Any) -> dict[str, Any]:
    """The data ledger of a file, as `rootstock inspect` prints it. sections: of a recipe, as plain values."""
    values = {"data": {"train": str(data), **sections.pop("data", {})}, "method": {"name": "full"}, **sections}
    return examine(Recipe.build(values, "").anchored(Path.cwd()), lambda text: None)


def examine(recipe: Recipe, say: Say) -> dict[str, Any]:
    """The ledger that a recipe's rows give; rows without a label are counted, not refused."""
    chosen = recipe.model_copy(update={"method": {"name": "full"}, "accept": (*recipe.accept, "unlabelled")})
    return prepare(chosen, say).ledger


def as_text(ledger: dict[str, Any]) -> str:
    """The ledger for a person."""
    lines = [f"{'rows':<16}" + ", ".join(f"{value:,} {name}" for name, value in ledger["rows"].items() if isinstance(value, int))]
    labels = ledger["labels"]
    shown = list(labels.items())
    lines.append(f"{'labels':<16}" + ", ".join(f"{name} {_number(value)}" for name, value in shown[:12]) + (f" … {len(shown)} in all" if len(shown) > 12 else ""))
    lengths = ledger["lengths"]
    lines.append(f"{'tokens a row':<16}" + ", ".join(f"{name} {_number(value)}" for name, value in lengths.get("percentiles", {}).items()) + f", longest {_number(lengths['longest'])}")
    lines.append(f"{'padding':<16}{ledger['padding_share']:.1%} of the tokens in the planned batches")
    for name, found in ledger["findings"].items():
        over = "  ABOVE ITS LIMIT" if found["share"] > found["limit"] else ""
        lines.append(f"{name:<16}{found['count']:,} rows, {found['share']:.2%} (limit {found['limit']:.0%}){over}")
        lines += [f"{'':<16}row {example.get('row')}: {str(example.get('text', ''))[:90]}" for example in found["examples"]]
    return "\n".join([*lines, *(f"{'cut at ' + str(at):<16}{_cut(cut)}" for at, cut in ledger.get("truncation", {}).items())])


def _cut(cut: Any) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in cut.items()) if isinstance(cut, dict) else _number(cut)


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
