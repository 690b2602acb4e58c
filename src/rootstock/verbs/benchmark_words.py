"""What a person asks a benchmark for: a suite and a base, or a base and tasks of lm-evaluation-harness."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.core import artifact, place
from rootstock.core.errors import UsageError
from rootstock.core.watch import Watch
from rootstock.evaluation import suite as suites
from rootstock.evaluation.suite import Suite
from rootstock.report import benchmark as page
from rootstock.verbs.benchmark import FILES


@dataclass(frozen=True, kw_only=True)
class Asked:
    """suite: of the facts by which the base is measured, unless the harness's tasks are named."""

    suite: Suite
    base: str
    harness: tuple[str, ...] = ()


def told(words: Sequence[str], harness: str | None) -> Asked:
    """From the words of a command. Raises UsageError where they do not name one base."""
    known = ", ".join(suites.names())
    if harness is None:
        if len(words) != 2:
            raise UsageError(f"found {' '.join(words)!r}", wanted=f"a suite ({known}) and a base: rootstock benchmark glue minilm")
        return Asked(suite=suites.find(words[0]), base=words[1])
    tasks = tuple(each for each in (part.strip() for part in harness.split(",")) if each)
    if len(words) != 1 or not tasks:
        raise UsageError(
            f"found {' '.join(words)!r} with --lm-eval {harness!r}", wanted="one base and tasks: rootstock benchmark RUN --lm-eval TASKS"
        )
    return Asked(suite=suites.find(suites.names()[0]), base=words[0], harness=tasks)


def by_harness(asked: Asked, out: Path, *, limit: int | None, batch: int, watch: Watch) -> tuple[dict[str, Any], str]:
    """Results of lm-evaluation-harness, written as ours and in its own layout, and as text."""
    from rootstock.verbs import harness

    place.held(out, "results", own=FILES[:2], wanted="a new or empty folder")
    found = harness.evaluate(asked.base, asked.harness, limit=limit, batch=batch, say=watch.say)
    artifact.write_json(out / FILES[1], found.pop("harness"))
    artifact.write_json(out / FILES[0], found)
    return found, f"{page.of_harness(found)}\n\nresults   {out / FILES[0]}"
