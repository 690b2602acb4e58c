"""Which base, method and settings: published rules, each with its reason and its source (docs/advice.md lists them)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rootstock.core.method import LARGE_BASE
from rootstock.planning.forecast import Forecast

FEW, SOME, MANY = 32, 2_000, 10_000
"""Training rows: below FEW a class a head alone learns; below SOME in all, little may learn; from MANY on, three passes are enough."""
MOST_AUGMENTED = 5_000
"""Rows above which words exchanged and left out were worth less than a point (Wei & Zou 2019)."""
WARMUP = 0.1
_BERT = "Devlin et al. 2018, arXiv:1810.04805"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a person has. rows: labelled ones. classes: 0 where answers are none. seconds, disk_bytes: None where nothing limits them.

    tasks: how many models are wanted. machine: memory of the device, bytes. images: whether rows are these, and no texts.
    """

    rows: int
    classes: int
    kind: str
    machine: int
    seconds: float | None = None
    tasks: int = 1
    disk_bytes: int | None = None
    images: bool = False


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One recommendation. about: what is decided. source: where the rule was published, or where it was measured."""

    about: str
    choice: str
    reason: str
    source: str


_BASES = {
    "text": ("google-t5/t5-base", "a text is answered by a text: an encoder and a decoder", "Raffel et al. 2019, arXiv:1910.10683"),
    "completion": ("Qwen/Qwen2.5-0.5B", "a text is gone on with: a decoder", "Radford et al. 2019; Qwen2.5 report, arXiv:2412.15115"),
}
_SMALL = ("minilm", "it answers in milliseconds on any processor", "Wang et al. 2020, arXiv:2002.10957")
_LARGER = (
    "FacebookAI/roberta-base",
    "answers are read off the text: an encoder, and the best of its size on GLUE",
    "Liu et al. 2019, arXiv:1907.11692",
)
_SMALL_EYE = (
    "facebook/deit-tiny-patch16-224",
    "images of 224 pixels in a sixteenth of ViT-base's parameters",
    "Touvron et al. 2020, arXiv:2012.12877",
)
_LARGER_EYE = (
    "google/vit-base-patch16-224",
    "learned from millions of images, it carries over to small sets with little training",
    "Dosovitskiy et al. 2020, arXiv:2010.11929",
)
_WHOLE_EYE = "Kornblith et al. 2019, arXiv:1805.08974"
_ROOMY = 6 * 10**9
"""Bytes of memory from which a base of 125 million parameters can learn as a whole at usual lengths."""


def base_for(case: Case) -> Advice:
    """The family of base that suits the answers and the machine."""
    small, larger = (_SMALL_EYE, _LARGER_EYE) if case.images else (_SMALL, _LARGER)
    found = _BASES.get(case.kind) or (larger if case.machine >= _ROOMY and case.rows >= SOME else small)
    return Advice(about="base", choice=found[0], reason=found[1], source=found[2])


def recommend(case: Case, costs: Mapping[str, Forecast]) -> list[Advice]:
    """All that the rules say of a case. costs: forecasts of full, lora and feature-extraction on the base."""
    method = _method(case, costs)
    return [method, *_more(case, method.choice, costs)]


def _method(case: Case, costs: Mapping[str, Forecast]) -> Advice:
    whole = costs["full"]
    if case.tasks > 1 and case.disk_bytes is not None and case.tasks * whole.saved_bytes > case.disk_bytes:
        each = costs["lora"].saved_bytes
        return Advice(
            about="method",
            choice="lora",
            reason=(
                f"{case.tasks} whole models take {_gigabytes(case.tasks * whole.saved_bytes)}, more than the {_gigabytes(case.disk_bytes)} "
                f"there are; one base with {case.tasks} adapters takes {_gigabytes(whole.saved_bytes + case.tasks * each)}"
            ),
            source="Houlsby et al. 2019, arXiv:1902.00751; Hu et al. 2021, arXiv:2106.09685",
        )
    if case.classes and case.rows / case.classes < FEW:
        return Advice(
            about="method",
            choice="feature-extraction",
            reason=f"{case.rows / case.classes:.0f} rows a class are too few to move the base by",
            source="Kornblith et al. 2019, arXiv:1805.08974" if case.images else "Tunstall et al. 2022, arXiv:2209.11055",
        )
    if case.rows < SOME and _possible(costs["lora"], case):
        return Advice(
            about="method",
            choice="lora",
            reason=f"{case.rows:,} rows are few: with {costs['lora'].counts.share:.2%} of the parameters there is less to overfit with",
            source="Hu et al. 2021, arXiv:2106.09685; Biderman et al. 2024, arXiv:2405.09673",
        )
    if not whole.fits or (case.seconds is not None and whole.seconds > case.seconds):
        why = "does not fit in memory" if not whole.fits else f"takes {whole.seconds / 3600:.1f} hours"
        name = next((each for each in ("lora", "feature-extraction") if _possible(costs[each], case)), "feature-extraction")
        return Advice(
            about="method",
            choice=name,
            reason=f"full {why}",
            source="the forecast above",
        )
    return Advice(
        about="method",
        choice="full",
        reason=f"{case.rows:,} rows are enough to move all parameters, it fits, and it reaches most where there is much to learn",
        source=_WHOLE_EYE if case.images else f"{_BERT}; Biderman et al. 2024, arXiv:2405.09673",
    )


def _possible(cost: Forecast, case: Case) -> bool:
    return cost.fits and (case.seconds is None or cost.seconds <= case.seconds)


def _more(case: Case, method: str, costs: Mapping[str, Forecast]) -> Iterator[Advice]:
    if case.rows < MOST_AUGMENTED and case.kind in ("class", "classes") and not case.images and method != "feature-extraction":
        yield Advice(
            about="augmentation",
            choice="eda",
            reason="few rows are learned by heart; words exchanged, put in and left out gave 3 points at 500 rows, and 0.8 with all",
            source="Wei & Zou 2019, arXiv:1901.11196",
        )
    yield Advice(
        about="warm-up",
        choice=f"{100 * WARMUP:.0f} % warm-up of {costs[method].updates:,} updates: {warmup_updates(costs[method].updates):,}",
        reason="a fresh head's first gradients would upset the base; short warm-ups made small sets fail at random",
        source="Mosbach et al. 2020, arXiv:2006.04884; Zhang et al. 2020, arXiv:2006.05987",
    )
    if not case.images and (rate := _rate(method, small=costs[method].counts.base < LARGE_BASE)):
        yield rate
    if case.rows < MANY and method == "full":
        yield Advice(
            about="epochs",
            choice="more than 3",
            reason="small sets were not done after three passes: train on until the loss has settled",
            source="Mosbach et al. 2020, arXiv:2006.04884; Zhang et al. 2020, arXiv:2006.05987",
        )


def _rate(method: str, *, small: bool) -> Advice | None:
    """The peak rate of AdamW that `adapt` takes as well; None where what learns is a head, whose rate is no matter of the base."""
    if method == "lora":
        reason = "a low-rank update begins at zero and takes some ten times the rate of full"
        return Advice(
            about="rate",
            choice=f"{'1e-3' if small else '4e-4'}, with r = 8 on query and value",
            reason=f"{reason}; small bases took more, as measured here" if small else reason,
            source="Hu et al. 2021, arXiv:2106.09685; Biderman et al. 2024, arXiv:2405.09673",
        )
    if method != "full":
        return None
    if small:
        why, source = "small bases were best at 5e-5 to 3e-4", "Turc et al. 2019, arXiv:1908.08962"
        return Advice(about="rate", choice="2e-4, in updates of 16 or 32 rows", reason=why, source=source)
    why = "of 2e-5, 3e-5 and 5e-5 one was best on every task; larger rates let a base of this size forget"
    return Advice(about="rate", choice="3e-5, in updates of 16 or 32 rows", reason=why, source=_BERT)


def warmup_updates(updates: int) -> int:
    """Whole updates of the warm-up: 22 of 225."""
    return int(WARMUP * updates)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
