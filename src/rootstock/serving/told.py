"""What an engine tells of its models, and of a text that it is writing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rootstock.core.task import Kind

if TYPE_CHECKING:  # what tells of models needs none of it
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A served model. All of it is JSON by `dataclasses.asdict`."""

    name: str
    task: str
    """As the catalogue calls it, such as text-classification; "" for a base that only writes or embeds."""
    kind: Kind | None
    """What an answer is; None where there is no task."""
    method: str
    """As the catalogue calls it; "" for a base."""
    base: str
    """How the run named its base."""
    base_sha256: str
    labels: tuple[str, ...]
    reads: tuple[str, ...]
    """Fields that a row must have: text, text_pair, choices, words."""
    length: int
    """Tokens that are kept of a row; more are cut off (or read in several windows, where the task does so). 0: no limit."""
    can: tuple[Literal["predict", "embed", "generate"], ...]
    chat: bool
    """Whether its tokenizer has a template of conversations."""
    loaded: bool
    """In memory; otherwise on disk, and read when it is asked for."""
    shares: bool
    """Whether its rows pass its base in one batch with those of other models."""
    alone_because: str
    """Why not, where it does not."""
    precision: str


class Vectors(NamedTuple):
    """Vectors of texts, and how many tokens were read for them."""

    values: "np.ndarray"
    """[N, H], of length 1, in float32."""
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of a text that is being written. The last one has a `finish`, and may have no text."""

    text: str
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    """Written so far."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a text is written. temperature 0: always the likeliest token; a seed makes what is drawn the same again."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    """Texts at which it ends; they are not part of it."""
    seed: int | None = None


Answer = dict[str, Any]
"""A row's answer: "predicted", "confidence" and what else the task's readable table holds, and "cut": true where not all of it was read."""
