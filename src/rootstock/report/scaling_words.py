"""A scaling law and a plan in words: for a terminal, and for the page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rootstock.report import words
from rootstock.report.facts import Facts

MEANINGS = {
    "A": "weight of the size",
    "B": "weight of the tokens",
    "E": "loss that no size and no data removes",
    "alpha": "how fast size helps",
    "beta": "how fast tokens help",
}
_LETTERS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"))
_EXAMPLES = 5


def quantity(value: float) -> str:
    """A size or a number of tokens with three digits: 2.79 B."""
    if not 1 <= value < 1e15:
        return power(value)
    unit, letter = next(((unit, letter) for unit, letter in _LETTERS if value >= 0.9995 * unit), (1.0, ""))
    return f"{value / unit:.3g}{letter}"


def power(value: float) -> str:
    """Operations as people write them: 1e21, 5.76e23."""
    return f"{value:.3g}".replace("e+", "e")


def formula(law: dict[str, float]) -> str:
    """The law with its figures."""
    return f"L = {law['E']:.4f} + {law['A']:.5g} / N^{law['alpha']:.4f} + {law['B']:.5g} / D^{law['beta']:.4f}"


def how(facts: Facts) -> str:
    """How the fit was found, and where its intervals come from."""
    said = f"Huber loss on log L (delta 0.001), summed over {words.several(facts['points'], 'run')}: {facts['objective']:.7f}. "
    said += f"{facts['agreeing']} of {facts['starts']} starts of L-BFGS ended there"
    drawn = facts["resamples"]
    return f"{said}; intervals (95 %) from {words.several(drawn, 'bootstrap sample')} of the runs." if drawn else f"{said}."


def between(ends: Sequence[float] | None, say: Callable[[float], str]) -> str:
    """An interval; nothing where there is none."""
    return f"[{', '.join(map(say, ends))}]" if ends else ""


def columns(source: Facts) -> str:
    """Which columns of a table were read as what."""
    return ", ".join(name if name == column else f"{name} = {column}" for name, column in source.get("columns", {}).items())


def as_text(facts: Facts) -> str:
    """A fit for a terminal."""
    lines = [formula(facts["law"]), ""]
    for name, value in facts["law"].items():
        ends = between(facts["intervals"][name], "{:.5g}".format)
        lines.append(f"{name:<10}{value:<14.6g}{ends:<24}{MEANINGS[name]}")
    lines += ["", how(facts)]
    lines += [f"columns   {Path(each['name']).name}: {columns(each)}" for each in facts["sources"] if "columns" in each]
    left, skipped = facts["left_out"], facts["skipped"]
    if left:
        lines.append(f"left out  {words.several(len(left), 'run')} of highest loss, {min(run['loss'] for run in left):.3f} and above")
    if skipped:
        lines.append(f"skipped   {words.several(len(skipped), 'row')}{', such as' if len(skipped) > _EXAMPLES else ''}")
        lines += [f"          {each['where']}: {each['reason']}" for each in skipped[:_EXAMPLES]]
    return "\n".join([*lines, *(f"note      {note}" for note in facts["notes"])])


def plan_text(plan: Facts) -> str:
    """A plan for a terminal."""
    shown: list[tuple[str, str, Callable[[float], str]]] = [
        ("flops", "FLOPs", power),
        ("parameters", "parameters", quantity),
        ("tokens", "tokens", quantity),
        ("tokens_per_parameter", "tokens per parameter", "{:,.3g}".format),
        ("loss", "expected loss", "{:.4f}".format),
    ]
    lines = [f"{called:<22}{say(plan[name]):<12}{between(plan['intervals'].get(name), say)}".rstrip() for name, called, say in shown]
    best = plan["best"]
    if not plan["optimal"]:
        pair = f"{quantity(best['parameters'])} parameters and {quantity(best['tokens'])} tokens"
        lines.append(f"{'best for these FLOPs':<22}{pair}: {best['loss']:.4f}")
    return "\n".join([*lines, *(f"note  {note}" for note in plan["notes"])])
