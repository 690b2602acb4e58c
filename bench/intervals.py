"""Do 95 % intervals hold the truth in 95 of 100 test sets, and how often is a difference called real where there is none?

    python bench/intervals.py [--trials 2000] [--resamples 500] [--parts counts pairs numbers confidence] [--only macro_f1]

Test sets are drawn from populations whose figures are known; each gets the interval that the tool prints (evaluation/intervals.py, and
evaluation/paired.py for differences). Rows of one kind (true class 2 answered 1, say) can be exchanged, so resampling rows is a multinomial
draw over kinds: the same distribution as `draws` at a hundredth of the time. Results go to results/intervals.json.
"""

import argparse
import json
import os
import time
import zlib
from pathlib import Path

import numpy as np

from rootstock.evaluation.intervals import ends, interval, limits, resampled
from rootstock.evaluation.paired import Drawn, chances, difference
from rootstock.tasks import _scores

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "intervals.json"
SIZES = (100, 300, 1000, 5000)
REACHED = (0.935, 0.965)
"""Coverage that is wanted."""
ALARMS = 0.055
"""Most false alarms that are wanted."""
LEVEL = 0.05
CONFUSIONS = {
    "two classes, half each, 80 % right": [[0.40, 0.10], [0.10, 0.40]],
    "two classes, half each, 97 % right": [[0.485, 0.015], [0.015, 0.485]],
    "two classes, 90 to 10": [[0.85, 0.05], [0.05, 0.05]],
    "two classes, 95 to 5": [[0.93, 0.02], [0.02, 0.03]],
    "four classes, 66 21 10 3": [[0.60, 0.03, 0.02, 0.01], [0.04, 0.15, 0.01, 0.01], [0.02, 0.01, 0.06, 0.01], [0.01, 0.005, 0.005, 0.01]],
}
"""By name, shares of rows: true class down, answered class across."""


# -- figures of counts, for many test sets at once: the last axes are the kinds of rows ---------------------------------------------------


def _ratio(above, below):
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=np.asarray(below) > 0)


def accuracy(counts):
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def macro_f1(counts):
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.nanmean(_ratio(2.0 * hits, counts.sum(-1) + counts.sum(-2)), axis=-1)


def f1(counts):
    return _ratio(2.0 * counts[..., 1, 1], 2.0 * counts[..., 1, 1] + counts[..., 0, 1] + counts[..., 1, 0])


def matthews(counts):
    truth, said, rows = counts.sum(-1), counts.sum(-2), counts.sum((-2, -1))
    spread = (rows**2 - (truth * truth).sum(-1)) * (rows**2 - (said * said).sum(-1))
    above = np.trace(counts, axis1=-2, axis2=-1) * rows - (truth * said).sum(-1)
    return np.where(spread > 1e-12, above / np.sqrt(np.maximum(spread, 1e-12)), 0.0)


def generator(*of):
    """Numbers of its own for each cell of the tables."""
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def label_sets():
    """Micro F1 of three labels a row: kinds of rows by how many of them are true, answered, and both; shares and figure."""
    kinds = [(true, said, both) for true in range(4) for said in range(4) for both in range(min(true, said) + 1) if true + said - both <= 3]
    weights = np.array([0.5 ** (true + said) * 4.0**both for true, said, both in kinds])
    true_K, said_K, both_K = np.array(kinds, float).T
    return weights / weights.sum(), lambda counts: _ratio(2 * counts @ both_K, counts @ (true_K + said_K))


def mean_of(values_K):
    """The figure of rows of which kind k counts values_K[k]."""
    return lambda counts: counts @ values_K / counts.sum(-1)


def counted():
    """(figure, population, shares of kinds, figure of counts); a shape of kinds other than a list is put back before the figure."""
    for name, held in CONFUSIONS.items():
        shares = np.array(held) / np.sum(held)
        figures = {"accuracy": accuracy, "macro_f1": macro_f1, "matthews": matthews} | ({"f1": f1} if len(shares) == 2 else {})
        for figure, of in figures.items():
            yield figure, name, shares, of
    shares_K, of = label_sets()
    yield "micro_f1", "three labels a row", shares_K, of
    values_K = np.linspace(0, 1, 11)
    yield "f1", "mean of rows' F1 (spans): 60 % whole, 20 % none", np.array([0.2, *[0.2 / 9] * 9, 0.6]), mean_of(values_K)
    losses_K = (np.arange(60) + 0.5) / 10
    yield "loss", "mean of rows' losses, exponential", np.exp(-losses_K) / np.exp(-losses_K).sum(), mean_of(losses_K)


def counts_part(trials, resamples):
    for figure, name, shares, of in counted():
        truth = float(of(shares[None])[0])
        for rows in SIZES:
            rng = generator(figure, name, rows)
            tables = rng.multinomial(rows, shares.ravel(), size=trials)
            found, rare = [], rows * (float(shares.sum(-1).min()) if shares.ndim == 2 else 1.0)
            for table in tables:
                drawn = rng.multinomial(rows, table / rows, size=resamples).reshape(resamples, *shares.shape)
                whole = float(of(table.reshape(1, *shares.shape))[0])
                found.append(interval(of(drawn), whole, rows, within=limits(figure)) if np.isfinite(whole) else None)
            yield told(figure, name, rows, truth, found) | {"rows_of_rarest_class": round(rare, 1)}


# -- correlations: rows can't be exchanged, so their weights are drawn, once for all test sets of a size ----------------------------------


def normal(correlation):
    def drawn(rng, *shape):
        left, apart = rng.normal(size=(2, *shape))
        return left, correlation * left + (1 - correlation**2) ** 0.5 * apart

    return drawn


def scores(rng, *shape):
    """Answers from 0 to 5 in fifths with many at the ends, as in STS-B, and what a model says of them."""
    left, said = normal(0.85)(rng, *shape)
    return np.round(np.clip(2.5 + 1.8 * left, 0, 5) * 5) / 5, np.clip(2.5 + 1.4 * said, 0, 5)


def skewed(rng, *shape):
    """Prices: both sides log-normal."""
    left, said = normal(0.8)(rng, *shape)
    return np.exp(left), np.exp(0.8 * said)


NUMBERS = {"normal, 0.8": normal(0.8), "normal, 0.3": normal(0.3), "scores 0 to 5, cut at both ends": scores, "log-normal, 0.8": skewed}


def weighted_pearson(left_N, right_N, weights_RN):
    """Correlation of each resample; the sides may be [R, N]."""
    rows = weights_RN.sum(-1)
    left_N, right_N = left_N - left_N.mean(-1, keepdims=True), right_N - right_N.mean(-1, keepdims=True)
    first, second = (
        np.einsum("rn,...n->r", weights_RN, each) if each.ndim == 1 else (weights_RN * each).sum(-1) for each in (left_N, right_N)
    )
    both, ones, twos = ((weights_RN * each).sum(-1) for each in (left_N * right_N, left_N**2, right_N**2))
    above = both - first * second / rows
    return above / np.sqrt((ones - first**2 / rows) * (twos - second**2 / rows))


def weighted_ranks(values_N, weights_RN):
    """Mean ranks in each resample, [R, N]: of equal values, the mean of the places that they take together."""
    _, group_N = np.unique(values_N, return_inverse=True)
    order = np.argsort(group_N, kind="stable")
    starts = np.flatnonzero(np.diff(group_N[order], prepend=-1))
    sums_RG = np.add.reduceat(weights_RN[:, order], starts, axis=1)
    return (np.cumsum(sums_RG, axis=1) - (sums_RG - 1) / 2)[:, group_N]


def numbers_part(trials, resamples):
    large = {name: population(np.random.default_rng(1), 2_000_000) for name, population in NUMBERS.items()}
    both = ("pearson", "spearman")
    known = {name: _scores.number_metrics(right, left, both) for name, (left, right) in large.items()}
    for rows in SIZES:
        rng = np.random.default_rng(rows)
        weights_RN = rng.multinomial(rows, np.full(rows, 1 / rows), size=resamples).astype(np.float64)
        for name, population in NUMBERS.items():
            found = {figure: [] for figure in known[name]}
            for _ in range(trials // (2 if rows < 1000 else 4 if rows < 5000 else 10)):  # ranks of a thousand resamples are dear
                left, right = population(rng, rows)
                sides = {"pearson": (left, right), "spearman": tuple(weighted_ranks(each, weights_RN) for each in (left, right))}
                whole = _scores.number_metrics(right, left, both)
                for figure in both:
                    drawn = weighted_pearson(*sides[figure], weights_RN)
                    found[figure].append(interval(drawn, whole[figure], rows, within=limits(figure)))
            for figure, each in found.items():
                yield told(figure, name, rows, known[name][figure], each)


# -- figures of confidence, and of one class: by the tool's own way from counts of rows to figures --------------------------------------


def confident(rng, rows, *, positive=0.5, sharp=2.0, wrong=1.0):
    """Two classes. Log-odds of the second are normal around `sharp` to the true side; those that are said are `wrong` times as far out."""
    answers = (rng.random(rows) < positive).astype(int)
    odds = rng.normal(np.where(answers, sharp, -sharp) / 2, sharp**0.5)  # told odds of so much are the true ones at even shares
    yes = 1 / (1 + np.exp(-wrong * odds))
    return {"scores": np.stack([1 - yes, yes], 1), "answers": answers}


CONFIDENCES = {
    "two classes, half each, well calibrated": {},
    "two classes, half each, far too sure": {"wrong": 3.0},
    "two classes, 95 to 5": {"positive": 0.05},
}
OF_CONFIDENCE = ("calibration_error", "log_loss", "roc_auc", "per_class/1/precision", "per_class/1/recall", "per_class/1/f1")


def confidence_part(trials, resamples):
    for name, how in CONFIDENCES.items():
        large = confident(np.random.default_rng(1), 2_000_000, **how)
        known = _scores.class_tally(large["scores"], large["answers"], OF_CONFIDENCE).whole()
        for rows in SIZES:
            rng, found = generator(name, rows), {figure: [] for figure in OF_CONFIDENCE}
            for _ in range(trials // (2 if rows < 1000 else 8 if rows < 5000 else 40)):
                columns = confident(rng, rows, **how)
                tally = _scores.class_tally(columns["scores"], columns["answers"], OF_CONFIDENCE)
                sets = resampled(rows, seed=int(rng.integers(2**31)), resamples=resamples)
                told_of = ends(tally, np.concatenate([tally.of(counts_RN) for counts_RN in sets]), tally.whole())
                for figure, each in found.items():
                    each.append(told_of.get(figure))
            for figure, each in found.items():
                yield told(figure, name, rows, known[figure], each) | {"undefined": sum(one is None for one in each)}


# -- two models that are equally good: how often are they called different? --------------------------------------------------------------


def pairs():
    """(figure, population, shares of (true, said by one, said by the other), figure of counts): the two have the same truth."""
    for name, held in CONFUSIONS.items():
        shares = np.array(held) / np.sum(held)
        given = shares / shares.sum(1, keepdims=True)
        for alike in (0.0, 0.6):  # share of rows on which the second says what the first says
            both = alike * np.einsum("ta,ab->tab", shares, np.eye(len(shares))) + (1 - alike) * np.einsum("ta,tb->tab", shares, given)
            yield "accuracy", f"{name}; {100 * alike:.0f} % copied", both, accuracy
            yield "macro_f1", f"{name}; {100 * alike:.0f} % copied", both, macro_f1


def pairs_part(trials, resamples, only=None):
    for figure, name, shares, of in (each for each in pairs() if only in (None, each[0])):
        for rows in SIZES:
            rng = generator(figure, name, rows)
            alarms, held = 0, 0
            for counts in rng.multinomial(rows, shares.ravel(), size=trials):
                drawn = rng.multinomial(rows, counts / rows, size=resamples).reshape(resamples, *shares.shape)
                table = counts.reshape(1, *shares.shape)
                first, second = (Drawn(of(table.sum(axis)), of(drawn.sum(axis))[:, None], rows) for axis in (3, 2))
                found = difference(first, second)
                if figure == "accuracy":  # a mean over rows
                    alarms += found.separable
                else:  # each kind's rows are swapped in a share that is binomial
                    swapped = rng.binomial(counts, 0.5, size=(resamples, len(counts))).reshape(resamples, *shares.shape)
                    null = counts.reshape(shares.shape) - swapped + swapped.transpose(0, 1, 3, 2)
                    p, _ = chances(found.value, of(null.sum(3)) - of(null.sum(2)), first.whole - second.whole)
                    alarms += p < LEVEL
                held += found.interval[0] <= 0 <= found.interval[1]
            kind = {
                "figure": figure,
                "population": name,
                "rows": rows,
                "trials": trials,
                "coverage": held / trials,
                "false_alarms": alarms / trials,
                "standard_error": round((alarms / trials * (1 - alarms / trials) / trials) ** 0.5, 4),
                "by": "bootstrap" if figure == "accuracy" else "swaps",
            }
            yield kind | {"reached": alarms / trials <= ALARMS}


# -- telling ----------------------------------------------------------------------------------------------------------------------------


def told(figure, name, rows, truth, found):
    """How often the intervals of one figure held the truth, and on which side those that did not lay."""
    lows, highs = np.array([each or (np.nan, np.nan) for each in found]).T
    over, under = float((lows > truth + 1e-12).mean()), float((highs < truth - 1e-12).mean())
    covered = float(((lows <= truth + 1e-12) & (truth - 1e-12 <= highs)).mean())
    of = {"figure": figure, "population": name, "rows": rows, "truth": round(truth, 4), "trials": len(found)}
    sides = {
        "coverage": round(covered, 4),
        "all_above": round(over, 4),
        "all_below": round(under, 4),
        "width": round(float(np.nanmean(highs - lows)), 4),
    }
    return of | sides | {"reached": REACHED[0] <= covered <= REACHED[1]}


PARTS = {"counts": counts_part, "pairs": pairs_part, "numbers": numbers_part, "confidence": confidence_part}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", help="one figure of pairs")
    asked = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in asked.parts:
        started, found = time.process_time(), []
        for each in PARTS[part](asked.trials, asked.resamples, *([asked.only] if part == "pairs" else [])):
            found.append(each)
            print(json.dumps(each), flush=True)
        kept[part] = {"resamples": asked.resamples, "cpu_seconds": round(time.process_time() - started), "found": found}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{part}: {sum(each['reached'] for each in found)} of {len(found)} reached")


if __name__ == "__main__":
    main()
