"""Labels that are probably wrong: confident learning on answers that were given without having seen the row.

Northcutt et al. 2021, https://arxiv.org/abs/1911.00068, by cleanlab. Shape letters: N rows, H features, C classes.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from rootstock.core.errors import DataError
from rootstock.core.modules import needed

_FOLDS = 5
_GRID = (0.001, 0.01, 0.1, 1.0)
"""C of the logistic regression, for features with a spread of one: that with the smallest log loss is taken."""


class Suspects(NamedTuple):
    """places: rows whose label is probably wrong, the most certain first. suggested [N]: each row's likeliest class.

    scores [N]: the probability of the given label, out of the model's sight.
    """

    places: np.ndarray
    suggested: np.ndarray
    scores: np.ndarray


def suspects(features_NH: np.ndarray, labels_N: np.ndarray, keys: list[str]) -> Suspects:
    """What cross-validation finds; rows of one key are never on both sides. DataError where the rows are too few to cut."""
    cleanlab = needed("cleanlab.filter", "the label-noise report", extra="noise")
    scores_NC = out_of_sight(features_NH, labels_N, keys)
    ranked = {"filter_by": "confident_learning", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    places = cleanlab.find_label_issues(labels_N, scores_NC, **ranked)
    return Suspects(np.asarray(places, np.int64), scores_NC.argmax(1), scores_NC[np.arange(len(labels_N)), labels_N])


def out_of_sight(features_NH: np.ndarray, labels_N: np.ndarray, keys: list[str]) -> np.ndarray:
    """Probabilities [N, C] for each row by a logistic regression on the others."""
    from sklearn.model_selection import StratifiedGroupKFold

    classes, groups_N = int(labels_N.max()) + 1, np.unique(keys, return_inverse=True)[1]
    if len(np.unique(groups_N)) < 2 * _FOLDS:
        raise DataError(f"{len(np.unique(groups_N))} different texts", wanted=f"{2 * _FOLDS} or more to cross-validate on", fix="add rows")
    if (most := int(np.bincount(labels_N).max())) < _FOLDS:
        raise DataError(f"no label has more than {most} rows", wanted=f"{_FOLDS} or more to cross-validate on", fix="add rows")
    inputs_NH = features_NH / max(float(features_NH.std()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than parts: some parts lack it
        cuts = list(StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(inputs_NH, labels_N, groups_N))
    made = [_answered(inputs_NH, labels_N, cuts, c=c, classes=classes) for c in _GRID]
    return min(made, key=lambda scores_NC: -np.log(scores_NC[np.arange(len(labels_N)), labels_N] + 1e-12).mean())


def _answered(inputs_NH: np.ndarray, labels_N: np.ndarray, cuts: Any, *, c: float, classes: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    scores_NC = np.zeros((len(labels_N), classes))
    for train, held in cuts:
        if len(np.unique(labels_N[train])) < 2:
            scores_NC[held, labels_N[train][0]] = 1
            continue
        model = LogisticRegression(C=c, max_iter=1000).fit(inputs_NH[train], labels_N[train])
        scores_NC[np.ix_(held, model.classes_)] = model.predict_proba(inputs_NH[held])
    return scores_NC
