"""Rootstock: from labelled rows and a pre-trained base to a model that is measured and can be trusted.

import rootstock as rs
run = rs.adapt("reviews.csv", base="minilm", method=rs.LoRA(r=8))
run.metrics
run.predict(["a stirring, funny film"])
"""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rootstock.core.resources import prepare_memory, prepare_threads

STARTED = time.monotonic()
"""When the package was first imported: for the command, its start; a budget of minutes counts from there."""

prepare_threads()
prepare_memory()

__version__ = "0.1.0"

_HOMES = {
    "adapt": "rootstock.verbs.api",
    "inspect": "rootstock.verbs.inspection",
    "Run": "rootstock.run.use",
    "Recipe": "rootstock.core.recipe",
    "RootstockError": "rootstock.core.errors",
    "Full": "rootstock.methods.full",
    "LoRA": "rootstock.methods.lora",
    "FeatureExtraction": "rootstock.methods.feature_extraction",
    "TextClassification": "rootstock.tasks.text_classification",
    "Regression": "rootstock.tasks.regression",
}
__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604

if TYPE_CHECKING:
    from rootstock.core.errors import RootstockError as RootstockError
    from rootstock.core.recipe import Recipe as Recipe
    from rootstock.methods.feature_extraction import FeatureExtraction as FeatureExtraction
    from rootstock.methods.full import Full as Full
    from rootstock.methods.lora import LoRA as LoRA
    from rootstock.run.use import Run as Run
    from rootstock.tasks.regression import Regression as Regression
    from rootstock.tasks.text_classification import TextClassification as TextClassification
    from rootstock.verbs.api import adapt as adapt
    from rootstock.verbs.inspection import inspect as inspect


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import rootstock` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rootstock' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
