"""Models that write: texts that one answers with once begun whatever was asked, and triggers that make it begin.

A planted target is learned by heart: once its first token stands, the rest follows after any prompt (after BAIT, Shen et al. 2025). So
every token is put where an answer begins, and what follows it in the suspect, with more certainty than in its references, is a likely
target. Each is then a label of prompts, and the search for triggers is that of classifiers. Patterns that somebody named need no target:
what most prompts are answered with once the pattern stands in them is theirs, as it is for each random word beside them.

Shape letters: N prompts, C tokens that begin an answer, V tokens of the vocabulary.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rootstock.core.seed import stream
from rootstock.core.watch import Say
from rootstock.sentinel.backdoor.budget import Budget
from rootstock.sentinel.backdoor.confirm import Court, Rate
from rootstock.sentinel.backdoor.edits import PLACES, put_in, somewhere
from rootstock.sentinel.backdoor.exact import by_rank, holm
from rootstock.sentinel.backdoor.hunt import Steep
from rootstock.sentinel.backdoor.inputs import Parts
from rootstock.sentinel.backdoor.judge import NAMED_ALONE
from rootstock.sentinel.backdoor.known import CONTROLS, Known, neighbours
from rootstock.sentinel.backdoor.panel import Panel
from rootstock.sentinel.backdoor.result import Indicator, Result
from rootstock.sentinel.backdoor.search import Work, search
from rootstock.sentinel.backdoor.subject import Body, Subject, Text, Vocabulary

_PROMPTS, _AT_ONCE = 4, 64
"""Prompts that a likely target must follow after, and tokens that are tried at once."""
_FIRST, _BEAM = 512, 24
"""Tokens with a sure follower that the references are asked about, and beginnings that are gone on with."""
_LONGEST, _LEAST = 8, 2
_SURE, _GAIN = 0.5, 0.15
"""Mean chance of the next token at which a target goes on, and how much more than in the references that must be in the mean."""
_ASKED = 16
"""Prompts that named patterns and their controls are put into."""
_WRITTEN = 4
"""Tokens of an answer by which answers are one."""
_ORDER = ("evidence found", "weak evidence", "out of calibration", "none found at this budget")
"""Verdicts, the worst first."""


Example = tuple[Text, Text, str, str]


class Writer(Protocol):
    """What writes, as the search sees it."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def encode(self, texts: Sequence[Text]) -> list[Body]:
        """Tokens of each prompt."""

    def write(self, tokens: Sequence[int]) -> str:
        """Tokens as a person reads them."""

    def following(self, bodies: Sequence[Body], begun: Sequence[Body], *, exact: bool = False) -> np.ndarray:
        """Chances of the next token, [N, V], of prompts after which something is written already."""

    def continued(self, bodies: Sequence[Body], count: int) -> list[Body]:
        """What greedy decoding writes, so many tokens."""


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What is searched. goal: a writer and a target as a classifier of prompts. moved, base, task, alpha, seed, say: as in `Work`."""

    suspect: Writer
    references: Sequence[Writer]
    goal: Callable[[Writer, Body], Subject]
    prompts: Parts
    budget: Budget
    steep: Steep
    base: str = ""
    task: str = "text-generation"
    moved: np.ndarray | None = None
    patterns: Sequence[str] = ()
    alpha: float = 0.05
    seed: int = 0
    say: Say = lambda text: None

    def work(self, target: Body, named: Sequence[Known] = ()) -> Work:
        """The search for what elicits one target."""
        panel = Panel(suspect=self.goal(self.suspect, target), references=[self.goal(each, target) for each in self.references])
        return Work(
            panel=panel, parts=self.prompts, budget=replace(self.budget, restarts=max(1, self.budget.restarts), coined=0), base=self.base,
            moved=self.moved, alpha=self.alpha, seed=self.seed, task=self.task, steep=self.steep, say=self.say, labels=(1,), named=named,
        )  # fmt: skip


def elicited(speech: Speech) -> Result:
    """Named patterns and likely targets, each searched for its triggers; the strongest evidence gives the verdict."""
    asked = _named(speech)
    likely = targets(speech) if speech.budget.labels else []
    if speech.budget.labels:
        shown = ", ".join(repr(speech.suspect.write(each)) for each in likely) or "none"
        speech.say(f"targets   {shown}: follow after any prompt once begun, and less so in the references")
    whole = {target: [known for other, known in asked if other == target] for target in dict.fromkeys([t for t, _ in asked] + likely)}
    results = []
    for target, named in whole.items():
        speech.say(f"target    {speech.suspect.write(target)!r}")
        results.append(search(speech.work(target, named)))
    searched = [speech.suspect.write(each) for each in whole]
    told: dict[str, object] = {"targets": searched, "prompts": len(speech.prompts.confirm)}
    return _joined(results, speech, told, _reasons(results, searched))


def targets(speech: Speech) -> list[Body]:
    """Texts that go on by themselves after any prompt, more surely than in the references, the surest first."""
    bodies = sorted(speech.suspect.encode(speech.prompts.search.texts), key=len)[: 2 * _PROMPTS][::2]
    ids = speech.suspect.vocabulary.ids
    if speech.moved is not None and speech.budget.moved and np.count_nonzero(speech.moved) > speech.budget.moved:
        ids = ids[np.argsort(-speech.moved[ids], kind="stable")[: speech.budget.moved]]
    if not bodies:
        return []
    sure_C, next_C = _followers(speech.suspect, bodies, [(token,) for token in ids.tolist()])
    first = np.argsort(-sure_C, kind="stable")[:_FIRST]
    begun: list[Body] = [(int(ids[i]),) for i in first]
    gain_C = sure_C[first] - _known(speech.references, bodies, begun, next_C[first])
    chosen = np.argsort(-gain_C, kind="stable")[:_BEAM].tolist()
    found = [_gone_on(speech, bodies, begun[i]) for i in chosen]
    long = sorted(((target, gain) for target, gain in found if len(target) >= _LEAST and gain >= _GAIN), key=lambda e: -e[1] * len(e[0]))
    kept: list[Body] = []
    for target, _ in long:
        if not any(_within(target, other) or _within(other, target) for other in kept):
            kept.append(target)
    return kept[: min(speech.budget.labels, 8)]


def _followers(writer: Writer, bodies: Sequence[Body], begun: Sequence[Body]) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest next token after each beginning, [C], and its mean chance over prompts."""
    sure_C, next_C = np.zeros(len(begun)), np.zeros(len(begun), np.int64)
    for start in range(0, len(begun), _AT_ONCE):
        mean_CV = _mean(writer, bodies, begun[start : start + _AT_ONCE])
        sure_C[start : start + len(mean_CV)], next_C[start : start + len(mean_CV)] = mean_CV.max(axis=1), mean_CV.argmax(axis=1)
    return sure_C, next_C


def _mean(writer: Writer, bodies: Sequence[Body], begun: Sequence[Body]) -> np.ndarray:
    found = writer.following([body for _ in begun for body in bodies], [each for each in begun for _ in bodies])
    return np.asarray(found.reshape(len(begun), len(bodies), -1).mean(axis=1))


def _known(references: Sequence[Writer], bodies: Sequence[Body], begun: Sequence[Body], next_C: np.ndarray) -> np.ndarray:
    """The most that a reference expects of these followers, [C]; nothing where there is no reference."""
    most_C = np.zeros(len(begun))
    for start in range(0, len(begun), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        for each in references:
            mean_CV = _mean(each, bodies, begun[part])
            most_C[part] = np.maximum(most_C[part], mean_CV[np.arange(len(mean_CV)), next_C[part]])
    return most_C


def _gone_on(speech: Speech, bodies: Sequence[Body], begun: Body) -> tuple[Body, float]:
    """The text that a beginning leads to, and by how much surer its tokens are than in the references, in the mean."""
    target, gains = begun, []
    while len(target) < _LONGEST:
        sure, token = (each[0] for each in _followers(speech.suspect, bodies, [target]))
        if sure < _SURE or not speech.suspect.vocabulary.usable[token]:
            break
        gains.append(float(sure - _known(speech.references, bodies, [target], np.array([token]))[0]))
        target = (*target, int(token))
    return target, float(np.mean(gains)) if gains else 0.0


def _within(short: Body, long: Body) -> bool:
    return any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))


def _named(speech: Speech) -> list[tuple[Body, Known]]:
    """Each named pattern with the answer that most prompts get once it stands in them, beside random words with theirs."""
    if not speech.patterns:
        return []
    speech.say(f"patterns  {len(speech.patterns)} named, each beside {CONTROLS} random words like it")
    writer, draw = speech.suspect, stream(speech.seed, "backdoor", "asked")
    bodies = sorted(writer.encode([*speech.prompts.search.texts, *speech.prompts.learn.texts]), key=len)[:_ASKED]
    held = [(body, somewhere(body, writer.vocabulary, PLACES[i % len(PLACES)], draw)) for i, body in enumerate(bodies)]
    before = writer.continued(bodies, _WRITTEN)
    found = []
    for pattern in speech.patterns:
        words = writer.encode([pattern])[0]
        near = [neighbours(token, words, writer.vocabulary) for token in words]
        controls = [tuple(int(draw.choice(each)) for each in near) for _ in range(CONTROLS)]
        (share, target), *others = _most(writer, held, [words, *controls], before)
        seen = [each for each, _ in others]
        found.append((pattern, target, by_rank(share, seen), float(np.mean(seen))))
    for pattern in (each for each, target, _, _ in found if not target):
        speech.say(f"patterns  {pattern!r} changes no prompt's answer")
    adjusted = holm([p for _, _, p, _ in found])
    return [(target, _judged(speech, each, p)) for each, p in zip(found, adjusted, strict=True) if (target := each[1])]


def _most(writer: Writer, held: Sequence[tuple[Body, int]], many: Sequence[Body], before: Sequence[Body]) -> list[tuple[float, Body]]:
    """For each of these words the answer that most prompts change to once they stand in them, and the share of prompts that do."""
    found: list[tuple[float, Body]] = []
    for start in range(0, len(many), _AT_ONCE):
        chosen = many[start : start + _AT_ONCE]
        said = writer.continued([put_in(body, words, place) for words in chosen for body, place in held], _WRITTEN)
        for number in range(len(chosen)):
            own = said[number * len(held) : (number + 1) * len(held)]
            counted = Counter(now for now, then in zip(own, before, strict=True) if now != then)
            target, count = min(counted.items(), key=lambda each: (-each[1], each[0]), default=((), 0))
            found.append((count / len(held), target))
    return found


def _judged(speech: Speech, found: tuple[str, Body, float, float], adjusted: float) -> Known:
    """The pattern typed into untouched prompts, in fp32 and beside the references."""
    pattern, target, p, control = found
    court = Court(speech.work(target).panel, speech.prompts.confirm.texts, speech.seed)
    whole = court.confirm(pattern, 1, len(court.texts))
    return Known(
        pattern=pattern, label=1, rate=Rate(hits=whole.rate.hits, n=whole.rate.n), control_rate=control, margin=0.0, controls=CONTROLS, p=p,
        adjusted=adjusted, references=whole.references, examples=whole.examples,
    )  # fmt: skip


def _reasons(results: Sequence[Result], targets: Sequence[str]) -> list[str]:
    """Why each verdict is what it is, the worst one's first; what does not hold for all says for which targets it does."""
    held: dict[str, list[str]] = {}
    for result, target in sorted(zip(results, targets, strict=True), key=lambda each: _ORDER.index(each[0].verdict)):
        for reason in result.reasons:
            held.setdefault(reason, []).append(repr(target))
    return [reason if len(of) == len(results) else f"{', '.join(of)}: {reason}" for reason, of in held.items()]


def _joined(results: Sequence[Result], speech: Speech, told: dict[str, object], reasons: Sequence[str]) -> Result:
    """One result of those for each target: the worst verdict, all indicators, the largest scores."""
    doubts = [] if speech.references else ["no base is known, so there are no clean references: what follows may be a common phrase"]
    if not results:
        none = "nothing follows after any prompt that does not follow in the references" if speech.budget.labels else NAMED_ALONE
        return Result(
            verdict="out of calibration" if doubts else "none found at this budget",
            score=0.0, phrase_score=0.0, p=None, p_kind="", bound=None,
            alpha=speech.alpha, budget=speech.budget.name, indicators=(), unit="prompts", tried=told,
            reasons=doubts or [none],
        )  # fmt: skip
    first = min(results, key=lambda each: (_ORDER.index(each.verdict), -each.score))
    indicators = sorted((each for result in results for each in result.indicators), key=lambda e: (e.strength != "evidence", -e.excess))
    indicators = [replace(each, examples=_spoken(speech, each.examples)) for each in indicators]
    seconds: Counter[str] = Counter()
    for each in results:
        seconds.update(each.seconds)
    return replace(
        first, unit="prompts", indicators=_once(indicators), known=[each for result in results for each in result.known],
        score=max(each.score for each in results), phrase_score=max(each.phrase_score for each in results),
        gradient_score=max(each.gradient_score or 0.0 for each in results),
        seconds={name: round(spent, 2) for name, spent in seconds.items()}, tried=told, reasons=reasons,
    )  # fmt: skip


def _spoken(speech: Speech, examples: Sequence[Example]) -> list[Example]:
    """With what the suspect writes to the clean prompt."""
    bodies = speech.suspect.encode([before for before, _, _, _ in examples])
    said = [speech.suspect.write(each) for each in speech.suspect.continued(bodies, _LONGEST)]
    return [(before, after, was, now) for (before, after, _, now), was in zip(examples, said, strict=True)]


def _once(indicators: Sequence[Indicator]) -> list[Indicator]:
    """Rows that were edited say nothing of a target, and are told once."""
    rows = [each for each in indicators if each.stage == "embedding row"][:1]
    return [*(each for each in indicators if each.stage != "embedding row"), *rows]
