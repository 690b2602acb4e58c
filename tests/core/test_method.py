"""How long a method learns where nobody says."""

import pytest

from rootstock.methods.feature_extraction import FeatureExtraction
from rootstock.methods.full import Full
from rootstock.methods.lora import LoRA


@pytest.mark.parametrize(
    ("method", "updates", "classes", "epochs"),
    [
        (Full, 500, 2, 3),  # enough rows: the usual number
        (Full, 10, 2, 6),  # 60 updates at least
        (Full, 1, 2, 20),  # but never by heart
        (Full, 66, 77, 6),  # banking77: 60 times 6.3 bits
        (LoRA, 132, 77, 8),
        (LoRA, 132, 2, 3),
        (FeatureExtraction, 1, 77, 10),  # convex: more passes give nothing
    ],
)
def test_few_rows_and_many_classes_take_more_passes(method, updates, classes, epochs):
    assert method.passes(updates, classes) == epochs
