"""Is a training set poisoned, and which rows: groups of rows whose labels their meaning does not explain, the strongest first.

A group that was found explains its rows with the label; what is left of other groups is looked at without them, so that the words of a
trigger are told once and the natural words beside it are not accused.

Shape letters: N rows, H width, K groups, C classes.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rootstock.sentinel.poisoning import evidence, groups, regions
from rootstock.sentinel.poisoning.evidence import Counted, Tested
from rootstock.sentinel.poisoning.groups import Groups
from rootstock.sentinel.poisoning.meaning import Meaning

EVIDENCE, NONE, OUT = "evidence found", "none found at this budget", "out of calibration"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What counts as evidence. Thresholds were chosen on sst2, subjectivity and banking77; bench/poisoning.py measures on others."""

    least: int = 5
    """Rows that a group needs: four rows of one label are no rarity among thousands of words."""
    share: float = 0.25
    """Largest share of rows that a group may hold: a larger one is half of what meaning is learned from."""
    shift: float = 1.0
    """Least lower bound of a label's log odds above meaning: how much a group decides."""
    surprise: float = 6.0
    """Least standard errors above what meaning expects: that it is no chance among thousands of groups."""
    part: float = 1 / 3
    """Largest share of a label's rows that may lie in a group: without them little is left to learn the label's meaning from."""
    rate: float = 0.1
    """Highest false discovery rate of the plain correlation, for a group to be tested at all: the test against meaning decides."""
    tests: int = 6000
    """Most groups that are tested against meaning, by their z."""
    fewest: int = 100
    """Rows below which no meaning is learned."""
    most: float = 0.2
    """Share of suspects above which the labels follow words rather than meaning throughout, and no group stands out."""
    several: int = 8
    """Most groups that can be a poison's: where there are more, labels such as intents are named by words that no other word explains."""


@dataclass(frozen=True, eq=False)
class Rows:
    """N texts (both of a pair), labels [N] as places in names, vectors [N, H] of a frozen base.

    near [N]: a number that all rows of a cluster of near duplicates share."""

    texts: Sequence[str]
    labels: np.ndarray
    names: Sequence[str]
    vectors: np.ndarray
    near: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A group that is evidence. rows: that hold it; with_label: of them; expected: by meaning. z, p: of the plain correlation.

    surprise: standard errors above what is expected. shift: lower bound of the log odds above meaning.

    forced: share of rows whose label it decides. suspects: rows, 0-based.
    """

    kind: str
    name: str
    label: str
    rows: int
    with_label: int
    expected: float
    z: float
    p: float
    surprise: float
    shift: float
    forced: float
    suspects: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """scores [N]: suspicion from 0 to 1; at 0.5 and above a row is a suspect. why [N]: its finding's number, -1 where none.

    chance [N]: of the row's label by meaning, when it was not seen. strongest: shift of the strongest group that is no evidence.
    """

    verdict: str
    scores: np.ndarray
    why: np.ndarray
    chance: np.ndarray
    findings: tuple[Finding, ...]
    tested: int
    groups: int
    strongest: float
    loss: float
    guessing: float
    notes: tuple[str, ...] = field(default=())

    @property
    def suspects(self) -> np.ndarray:
        """Rows with a score of 0.5 or more, the most suspicious first."""
        order = np.argsort(-self.scores, kind="stable")
        return np.asarray(order[self.scores[order] >= 0.5])


def examine(rows: Rows, limits: Limits | None = None) -> Report:
    """Test every group of rows that words, forms, near duplicates and vectors make."""
    limits, count = limits or Limits(), len(rows.texts)
    if count < limits.fewest or len(rows.names) < 2:
        return _unknown(rows, f"{count:,} rows of {len(rows.names)} labels; {limits.fewest} of 2 or more are needed")
    told = [groups.parts(text) for text in rows.texts]
    meaning = Meaning(rows.vectors, rows.labels, len(rows.names))
    found = _groups(rows, told, meaning, limits)
    counts = evidence.counted(found, meaning.answer_NC)
    candidates = _candidates(found, counts, np.bincount(rows.labels, minlength=len(rows.names)), limits)
    tests = _tests(found, candidates, meaning, rows.labels)
    taken = _strongest(tests, counts, count, limits)
    return _report(rows, told, (found, counts, tests), taken, meaning, limits)


def _unknown(rows: Rows, why: str) -> Report:
    nothing_N = np.zeros(len(rows.texts))
    unknown = float("nan")
    return Report(
        verdict=OUT,
        scores=nothing_N,
        why=np.full(len(nothing_N), -1),
        chance=nothing_N + 1,
        findings=(),
        notes=(why,),
        tested=0,
        groups=0,
        strongest=-np.inf,
        loss=unknown,
        guessing=unknown,
    )


def _groups(rows: Rows, told: Sequence[Sequence[str]], meaning: Meaning, limits: Limits) -> Groups:
    count = len(rows.texts)
    most = int(limits.share * count)
    size = {"least": limits.least, "most": most}
    phrases = groups.phrases(told, **size)
    found = [phrases, groups.forms(rows.texts, told, **size)]
    found += [groups.pairs(told, chosen, least=limits.least) for chosen in _leaning(phrases, meaning)]
    found.append(regions.regions(rows.vectors, rows.labels, **size))
    if rows.near is not None:
        found.append(regions.alike(rows.near, **size))
    return groups.joined(found, count)


_LEANING, _WORDS = 3.0, 120


def _leaning(phrases: Groups, meaning: Meaning) -> list[list[str]]:
    """For each label the words that lean to it more than meaning says, where every row is out of its own sight only."""
    single = np.array([place for place, kind in enumerate(phrases.kinds) if kind == "word"], np.int64)
    if not len(single):
        return []
    held = phrases.held[:, single].astype(np.float64).T
    beyond_KC = held @ meaning.answer_NC - held @ meaning.alone_NC
    z_KC = beyond_KC / np.sqrt(np.maximum(held @ (meaning.alone_NC * (1 - meaning.alone_NC)), 1e-9))
    chosen = []
    for z_K in z_KC.T:
        order = [place for place in np.argsort(-z_K, kind="stable")[:_WORDS].tolist() if z_K[place] > _LEANING]
        chosen.append([phrases.names[single[place]] for place in order])
    return [each for each in chosen if len(each) > 1]


def _candidates(found: Groups, counts: Counted, label_C: np.ndarray, limits: Limits) -> list[tuple[int, int]]:
    """Groups and labels whose plain correlation is real, the strongest first; of groups with the same rows the first alone."""
    real_KC = (counts.p <= limits.rate) & (counts.z > 0) & (counts.labelled >= limits.least)
    group_M, label_M = np.nonzero(real_KC & (counts.labelled <= limits.part * label_C))
    order = np.argsort(-counts.z[group_M, label_M], kind="stable")
    kept: dict[tuple[bytes, int], tuple[int, int]] = {}
    for place in order.tolist():
        group, label = int(group_M[place]), int(label_M[place])
        kept.setdefault((found.rows(group).tobytes(), label), (group, label))
        if len(kept) >= limits.tests:
            break
    return list(kept.values())


def _tests(found: Groups, candidates: Sequence[tuple[int, int]], meaning: Meaning, label_N: np.ndarray) -> list[Tested]:
    """Each group against what all rows outside it say."""
    chances: dict[int, np.ndarray] = {}
    made = []
    for group, label in candidates:
        rows_G = found.rows(group)
        if group not in chances:
            chances[group] = meaning.without(rows_G)
        made.append(evidence.tested(group, label, rows_G, chances[group][:, label], label_N[rows_G] == label))
    return made


def _strongest(tests: Sequence[Tested], counts: Counted, count: int, limits: Limits) -> list[Tested]:
    """Groups that are evidence, the strongest first, each without the rows that stronger ones explain."""
    open_N = np.ones(count, bool)
    queue = [(-each.shift, number, len(each.rows)) for number, each in enumerate(tests) if _counts(each, limits)]
    heapq.heapify(queue)
    taken = []
    while queue:
        _, number, size = heapq.heappop(queue)
        each = tests[number]
        left_G = open_N[each.rows]
        if int(left_G.sum()) < size:
            rest = _left(each, left_G)
            if _counts(rest, limits):
                heapq.heappush(queue, (-rest.shift, number, len(rest.rows)))
            continue
        taken.append(rest := _left(each, left_G))
        open_N[rest.rows[rest.has]] = False
    return taken


def _counts(each: Tested, limits: Limits) -> bool:
    """Whether a group is evidence."""
    return each.shift >= limits.shift and each.surprise >= limits.surprise and each.with_label >= limits.least


def _left(each: Tested, left_G: np.ndarray) -> Tested:
    return evidence.tested(each.group, each.label, each.rows[left_G], each.chance[left_G], each.has[left_G])


def _report(
    rows: Rows,
    told: Sequence[Sequence[str]],
    made: tuple[Groups, Counted, Sequence[Tested]],
    taken: Sequence[Tested],
    meaning: Meaning,
    limits: Limits,
) -> Report:
    found, counts, tests = made
    chance_N = meaning.alone_NC[np.arange(len(rows.texts)), rows.labels]
    score_N, why_N = _below(tests, chance_N, limits), np.full(len(chance_N), -1)
    findings = []
    for number, each in enumerate(taken):
        own_G = each.suspicion()
        better = own_G > score_N[each.rows]
        score_N[each.rows[better]], why_N[each.rows[better]] = own_G[better], number
        findings.append(_finding(each, found, counts, rows, told))
    open_N = np.ones(len(chance_N), bool)
    for each in taken:
        open_N[each.rows[each.has]] = False
    prior = meaning.prior_C
    report = Report(
        verdict=EVIDENCE if findings else NONE,
        scores=score_N,
        why=why_N,
        chance=chance_N,
        findings=tuple(findings),
        tested=len(tests),
        groups=len(found),
        strongest=max((_left(each, open_N[each.rows]).shift for each in tests), default=float("-inf")),
        loss=meaning.loss,
        guessing=float(-(prior * np.log(np.maximum(prior, 1e-12))).sum()),
    )
    share = len(report.suspects) / len(chance_N)
    if share > limits.most or len(findings) > limits.several:
        why = f"{len(findings):,} groups with {share:.0%} of the rows follow words that meaning does not explain: none of them stands out"
        return replace(report, verdict=OUT, notes=(why,))
    return report


def _below(tests: Sequence[Tested], chance_N: np.ndarray, limits: Limits) -> np.ndarray:
    """Scores below 0.5 for all rows, so that they have an order: by the strongest group that is no evidence, and the label's own chance."""
    score_N = 0.1 * (1 - chance_N)
    for each in tests:
        strength = 0.4 * min(max(each.shift / limits.shift, 0.0), max(each.surprise / limits.surprise, 0.0), 1.0)
        if strength:
            score_N[each.rows] = np.maximum(score_N[each.rows], 0.1 * (1 - chance_N[each.rows]) + strength * each.suspicion())
    return np.minimum(score_N, 0.499)


def _finding(each: Tested, found: Groups, counts: Counted, rows: Rows, told: Sequence[Sequence[str]]) -> Finding:
    own_G = each.suspicion()
    suspects = each.rows[own_G >= 0.5]
    kind, name = found.kinds[each.group], found.names[each.group]
    if kind in ("word", "words"):
        name = groups.widest([told[row] for row in suspects.tolist()], name.split(" "))
    return Finding(
        kind=kind,
        name=name,
        label=rows.names[each.label],
        rows=len(each.rows),
        with_label=each.with_label,
        expected=each.expected,
        z=float(counts.z[each.group, each.label]),
        p=float(counts.p[each.group, each.label]),
        surprise=each.surprise,
        shift=each.shift,
        forced=each.forced,
        suspects=tuple(suspects.tolist()),
    )
