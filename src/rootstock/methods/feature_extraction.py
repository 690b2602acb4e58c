"""Train only a fresh head on the frozen base's features (feature extraction, linear probe).

Prefer it where seconds count or rows are few; full and lora go further with a few hundred rows or more, few-shot with a few rows a class.
Each row passes the base once: its feature vector is kept on disk by content digest, so later epochs and later runs on the same rows start
at once.
"""

from typing import ClassVar

from rootstock.methods._features import OnFeatures


class FeatureExtraction(OnFeatures):
    """The base is frozen; what the checkpoint lacked learns."""

    epochs: ClassVar[float] = 10
    rate: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.3
    batch_tokens: ClassVar[int] = 128
    flops: ClassVar[float] = 2
    trained: ClassVar[float] = 0.0
