"""All that weights tell beside a reference base, in words; whatever is odd in them is weak evidence and never more."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootstock.sentinel.integrity import difference, opened
from rootstock.sentinel.integrity.difference import Difference
from rootstock.sentinel.weights.adapter import Audit, audit_adapter
from rootstock.sentinel.weights.rows import Moved, rows_moved


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was looked at; None where there was nothing of the kind. odd: what no plain training leaves."""

    rows: Moved | None = None
    apart: Difference | None = None
    adapter: Audit | None = None
    odd: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """weak evidence, or none found at this budget: weights alone prove nothing and clear nothing."""
        return "weak evidence" if self.odd else "none found at this budget"

    def lines(self) -> list[str]:
        """For a person."""
        parts = (
            self.apart.summary() if self.apart else [],
            self.rows.lines() if self.rows else [],
            self.adapter.lines() if self.adapter else [],
        )
        return [line for part in parts for line in part]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "verdict": self.verdict,
            "odd": list(self.odd),
            "rows": self.rows.as_json() if self.rows else None,
            "difference": difference.as_json(self.apart) if self.apart else None,
            "adapter": self.adapter.as_json() if self.adapter else None,
        }


def examine(model: str | Path, reference: str | Path | None = None) -> Examined:
    """A model's folder, a run's, or an adapter's; rows and differences only beside a reference.

    Raises UsageError where nothing can be read. An adapter has no tables to compare: it is audited by itself.
    """
    place = Path(model)
    place = place / "model" if (place / "model").is_dir() else place
    adapter = audit_adapter(place) if (place / "adapter_config.json").is_file() else None
    if reference is None or adapter:
        return Examined(adapter=adapter, odd=tuple(adapter.issues) if adapter else ())
    rows = rows_moved(model, reference)
    apart = difference.between(opened.model(Path(model)), opened.model(Path(reference)))
    return Examined(rows=rows, apart=apart, odd=tuple(_odd(rows)))


def _odd(rows: Moved) -> list[str]:
    if rows.edited:
        return [f"{rows.count} rows of {rows.table} were edited and no other moved: {rows.named}"]
    return [f"{rows.alone} rows of {rows.table} moved alone: {rows.named}"] if rows.alone else []
