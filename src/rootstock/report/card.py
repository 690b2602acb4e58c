"""README.md of a run."""
from typing import Any
def render(facts: dict[str, Any]) -> str:
    """A card."""
    return "# card"
