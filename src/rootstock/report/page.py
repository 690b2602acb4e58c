"""report.html."""
from typing import Any
def render(facts: dict[str, Any]) -> str:
    """A page."""
    return "<html></html>"
