"""The sentinel: reads bytes and never runs a model's code.

from rootstock.sentinel import scan
report = scan("path/to/model")
report.refused; report.findings

BackdoorScanner alone runs a model. It lives in a room above, which opens models, and is only named here; the search itself knows no
framework (sentinel/backdoor).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "scan": "rootstock.sentinel.scanner",
    "Report": "rootstock.sentinel.scanner",
    "Finding": "rootstock.sentinel.findings",
    "Limits": "rootstock.sentinel.limits",
    "ModelProvenanceChecker": "rootstock.sentinel.provenance.checker",
    "BackdoorScanner": "rootstock.run.backdoor",
    "WeightIntegrityValidator": "rootstock.sentinel.integrity.validator",
}
__all__ = [*_HOMES]  # noqa: PLE0604

if TYPE_CHECKING:
    from rootstock.sentinel.findings import Finding as Finding
    from rootstock.sentinel.integrity.validator import WeightIntegrityValidator as WeightIntegrityValidator
    from rootstock.sentinel.limits import Limits as Limits
    from rootstock.sentinel.provenance.checker import ModelProvenanceChecker as ModelProvenanceChecker
    from rootstock.sentinel.scanner import Report as Report
    from rootstock.sentinel.scanner import scan as scan


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rootstock.sentinel' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
