"""Logistic regression by scikit-learn, written into a linear layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Strengths that cross-validation chooses from."""
_FOLDS = 5
_ROWS = 10_000
"""Rows that cross-validation looks at; more change its choice little."""
_ITERATIONS = 1000


def fit(head: nn.Linear, features_NH: np.ndarray, labels: np.ndarray, c: float | None) -> str:
    """Fit and write; returns what was found. labels: a class index a row [N], or 0/1 for each class [N, C]. c: None by cross-validation.

    C is that of features with a spread of one, whatever theirs is.
    """
    spread = max(float(features_NH.std()), 1e-12)
    inputs_NH = features_NH / spread
    chosen, how = (c, "as given") if c is not None else _chosen(inputs_NH, labels, bias=head.bias is not None)
    weight_CH, bias_C = _fitted(inputs_NH, labels, c=chosen, bias=head.bias is not None, classes=head.out_features)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight_CH / spread))
        if head.bias is not None:
            head.bias.copy_(torch.from_numpy(bias_C))
    return f"logistic regression, C = {chosen:g} {how}"


def _chosen(inputs_NH: np.ndarray, labels: np.ndarray, *, bias: bool) -> tuple[float, str]:
    """The strength with the smallest log loss on rows that were held out."""
    from sklearn.model_selection import KFold, StratifiedKFold

    rows = np.random.default_rng(0).permutation(len(labels))[:_ROWS]
    inputs_NH, labels = inputs_NH[rows], labels[rows]
    single = labels.ndim == 1
    fewest = int(np.unique(labels, return_counts=True)[1].min()) if single else len(labels)
    folds = min(_FOLDS, fewest)
    if folds < 2:
        return 1.0, "(a class has one row only, so nothing can be held out)"
    cut = StratifiedKFold(folds) if single else KFold(folds)
    splits = list(cut.split(inputs_NH, labels if single else None))
    losses = {c: _held_out(inputs_NH, labels, splits, c=c, bias=bias) for c in GRID}
    best = min(losses, key=lambda c: losses[c])
    return best, f"by cross-validation in {folds} parts (log loss {losses[best]:.3f})"


def _held_out(inputs_NH: np.ndarray, labels: np.ndarray, splits: Sequence[Any], *, c: float, bias: bool) -> float:
    classes = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    total = 0.0
    for train, held in splits:
        weight_CH, bias_C = _fitted(inputs_NH[train], labels[train], c=c, bias=bias, classes=classes)
        logits = torch.from_numpy(inputs_NH[held] @ weight_CH.T + bias_C)
        wanted = torch.from_numpy(labels[held])
        if labels.ndim == 1:
            total += float(nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        else:
            total += float(nn.functional.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="sum"))
    return total / len(labels)


def _fitted(inputs_NH: np.ndarray, labels: np.ndarray, *, c: float, bias: bool, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights [C, H] and biases [C] whose softmax (of one class a row) or sigmoids (of several) are the probabilities."""
    if labels.ndim == 2:
        columns = [_binary(inputs_NH, labels[:, each], c=c, bias=bias) for each in range(classes)]
        return np.stack([weight for weight, _ in columns]), np.array([offset for _, offset in columns])
    present = np.unique(labels)
    weight_CH, bias_C = np.zeros((classes, inputs_NH.shape[1])), np.zeros(classes)
    if len(present) == 2:  # of two classes scikit-learn gives the second's log odds
        weight_H, offset = _binary(inputs_NH, labels == present[1], c=c, bias=bias)
        for place, sign in zip(present, (-0.5, 0.5), strict=True):
            weight_CH[place], bias_C[place] = sign * weight_H, sign * offset
    else:
        model = _model(inputs_NH, labels, c=c, bias=bias)
        weight_CH[present], bias_C[present] = model.coef_, model.intercept_
    if len(present) < classes:
        bias_C[np.setdiff1d(np.arange(classes), present)] = -10.0  # never seen, so never said
    return weight_CH, bias_C


def _binary(inputs_NH: np.ndarray, yes_N: np.ndarray, *, c: float, bias: bool) -> tuple[np.ndarray, float]:
    yes_N = yes_N.astype(np.int64)
    if len(np.unique(yes_N)) < 2:
        return np.zeros(inputs_NH.shape[1]), 10.0 if yes_N.all() else -10.0
    model = _model(inputs_NH, yes_N, c=c, bias=bias)
    return model.coef_[0], float(np.ravel(model.intercept_)[0])


def _model(inputs_NH: np.ndarray, labels: np.ndarray, *, c: float, bias: bool) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, fit_intercept=bias, max_iter=_ITERATIONS).fit(inputs_NH, labels)
