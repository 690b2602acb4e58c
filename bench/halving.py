"""How `compare` gives out seeds, simulated: what it saves, whether the winner is that of all seeds, and whether its chances hold.

    python bench/halving.py [--trials 500] [--rows 240 1107]

Four ways to train with three seeds: one far behind, one that learns nothing, and two whose difference varies. A row is right where the way's
strength, the row's ease, what the way makes of this row, and chance of the seed (of the row alone, and of the whole seed alike) are above
zero in all. The race is decided by the tool's own functions (evaluation/racing.py); beside it stands the first rule, a paired test after
each seed. Times are shares of all seeds of all ways, each way's cost as measured on sst2; the way that learns nothing is ended at the share of its
training at which the tool would have ended it there (verbs/arms_curtail.py): that is taken over, not simulated. Results go to results/halving.json.
"""

import argparse
import json
import os
import zlib
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from rootstock.evaluation.paired import Drawn, difference
from rootstock.evaluation.racing import CHANCE, WORTH, apart, following, spread

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results")) / "halving.json"
COST = (0.15, 1.08, 1.0, 1.0)
"""Of feature extraction, lora, full and scratch."""
NOTHING, ENDED = 3, 0.6
"""The way that learns nothing, and the share of its first training that it gets: at 0.6 of it, on 1,500 rows of sst2, a leader with as much of
its schedule as is left had 0.754 of its 0.821 (results/methods.json is of a comparison before this rule)."""
SEEDS, ALPHA, CONSTANT = 3, 0.05, 0.5
GAPS = (0.0, 0.005, 0.01, 0.02, 0.04)
WHOLE = {"rows alone": 0.0, "seeds as well": 0.08}
"""By what seeds move figures: rows that flip by themselves; and all rows of a seed alike, which doubles it on 1,107 rows."""


def answered(rng, rows, strengths, whole):
    """Whether each row is right, [ways, seeds, rows]."""
    total = (1 + 0.25 + 0.3 + whole**2) ** 0.5
    ease, found = rng.normal(size=rows), np.zeros((len(strengths), SEEDS, rows))
    for way, strength in enumerate(strengths):
        own = ease + 0.5 * rng.normal(size=rows)
        for seed in range(SEEDS):
            found[way, seed] = ndtri(strength) * total + own + 0.3**0.5 * rng.normal(size=rows) + whole * rng.normal() > 0
    return found


def raced(ways):
    """Seeds of each way, the winner, and who was stopped though the rows do not tell, with what was said."""
    counts, stopped = dict.fromkeys(ways, 1), {}
    while True:
        held = {name: ways[name].first(counts[name]) for name in ways if name not in stopped}
        told, leader = spread([ways[name].first(count) for name, count in counts.items()]), max(held, key=lambda name: held[name].mean)
        for name, own in held.items() if told else ():
            if name == leader or counts[name] == SEEDS:
                continue
            found = apart(own, held[leader], seeds=SEEDS, told=told)
            if found.below < ALPHA:
                stopped[name] = None
            elif found.chance <= CHANCE and found.worth <= WORTH * (held[leader].mean - CONSTANT):
                stopped[name] = found.chance
        left = {name: each for name, each in held.items() if name not in stopped}
        if not (names := following(left, seeds=SEEDS)):
            return counts, max(left, key=lambda name: left[name].mean), {name: each for name, each in stopped.items() if each is not None}
        counts[names[0]] += 1


def rungs(ways):
    """The rule before: a seed of each way that is left, then those are dropped that a paired test puts below the first."""
    counts, left = dict.fromkeys(ways, 0), set(ways)
    for seeds in range(1, SEEDS + 1):
        counts |= dict.fromkeys(left, seeds)
        leader = max(left, key=lambda name: ways[name].first(seeds).mean)
        if seeds < SEEDS:
            tested = {name: difference(ways[name].first(seeds), ways[leader].first(seeds)).below for name in left - {leader}}
            left -= {name for name, below in tested.items() if below < ALPHA}
    return counts, max(left, key=lambda name: ways[name].mean)


def cell(rows, gap, whole, trials):
    """What one setting gave."""
    rng = np.random.default_rng(zlib.crc32(repr((rows, gap, whole)).encode()))
    weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=200) / rows
    shares, same, lost, said, came = ([], []), ([], []), [], [], []
    for _ in range(trials):
        right = answered(rng, rows, (0.73, 0.815 - gap, 0.815, 0.52), whole)
        ways = {name: Drawn(each.mean(1), weights @ each.T, rows) for name, each in enumerate(right)}
        best = max(ways, key=lambda name: ways[name].mean)
        counts, winner, unlikely = raced(ways)
        for side, (found, first) in enumerate(((counts, winner), rungs(ways))):
            ended = (1 - ENDED) * COST[NOTHING] if side == 0 and found[NOTHING] == 1 else 0.0
            shares[side].append((sum(COST[name] * count for name, count in found.items()) - ended) / (SEEDS * sum(COST)))
            same[side].append(first == best)
        lost.append(ways[best].mean - ways[winner].mean)
        said += unlikely.values()
        came += [name == best for name in unlikely]
    means = {"share": np.mean(shares[0]), "share_before": np.mean(shares[1]), "same": np.mean(same[0]), "same_before": np.mean(same[1])}
    means |= {"lost": np.mean(lost), "chance_said": np.mean(said), "came_first": np.mean(came)}
    return {key: round(float(value), 4) for key, value in means.items()} | {"stopped_unlikely": len(said)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="+", default=[240, 1107])
    a, found = parser.parse_args(), []
    for rows in a.rows:
        for moved, whole in WHOLE.items():
            for gap in GAPS:
                found.append({"rows": rows, "seeds_move": moved, "gap": gap, "trials": a.trials, **cell(rows, gap, whole, a.trials)})
                print(json.dumps(found[-1]), flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
