"""The bodies that are taken, by field; an unknown field is an error, and so is one that would change the answer and is not carried out."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

_NO_EFFECT = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": (None, ""),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "tools": (None, []),
    "tool_choice": (None, "none"),
    "parallel_tool_calls": (None, True, False),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}
"""Fields of OpenAI's interface that are not carried out, with the values that ask for nothing."""


class Body(BaseModel):
    """What all bodies have in common."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _kind(value: Any) -> str | None:
    """Which member of a union is meant; what is wrong is then told of that one alone. The marks keep these names out of messages."""
    kinds = ((str, "<text>"), (list, "<list>"), (dict | Fields, "<object>"))
    return next((name for kind, name in kinds if isinstance(value, kind)), None)


Texts = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[str], Field(min_length=1), Tag("<list>")],
    Discriminator(_kind, "texts", "wanted a text, or a list of texts"),
]


class Fields(Body):
    """A row by its fields; which of them a model reads stands in /v1/models."""

    text: str | None = None
    """The text, or the first of a pair; for questions the question."""
    text_pair: str | None = None
    """The second text of a pair; for questions the passage."""
    choices: list[str] | None = None
    """What to choose from, for models that choose."""
    words: list[str] | None = None
    """A sentence that is in words already, for models that tag words."""

    @property
    def plain(self) -> dict[str, Any]:
        """The fields that were given."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
Row = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Pair, Tag("<list>")] | Annotated[Fields, Tag("<object>")],
    Discriminator(_kind, "row", "wanted a text, a list of two texts, or an object with the fields that the model reads"),
]


def plain(row: str | list[str] | Fields) -> dict[str, Any]:
    """A row as models read it."""
    if isinstance(row, str):
        return {"text": row}
    return {"text": row[0], "text_pair": row[1]} if isinstance(row, list) else row.plain


class PredictBody(Body):
    """Rows for a model that labels, scores, tags or finds answers."""

    inputs: list[Row] = Field(min_length=1)
    """Texts; for a model of pairs lists of two texts; or objects with the fields text, text_pair, choices and words."""


class _Unused(BaseModel):
    """Takes the fields of OpenAI's interface that have no effect, and those that are not carried out at their defaults."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if name in _DEFAULTS and value not in _DEFAULTS[name]:
                raise PydanticCustomError("not_carried_out", "{field} is not carried out here: leave it out", {"field": name})
        return {name: value for name, value in values.items() if name not in _DEFAULTS and name not in _NO_EFFECT}


class EmbeddingsBody(Body, _Unused):
    """Texts for a model that learned vectors."""

    model: str
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    """base64: of little-endian 32-bit floats, a third of the bytes."""
    dimensions: int | None = Field(None, ge=1)
    """Only the vector's own length is taken."""


class StreamOptions(Body):
    """What comes with a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


Stop = Annotated[str, Field(min_length=1)]
Stops = Annotated[
    Annotated[Stop, Tag("<text>")] | Annotated[list[Stop], Field(max_length=4), Tag("<list>")],
    Discriminator(_kind, "texts", "wanted a text, or a list of texts"),
]


class Drawn(Body, _Unused):
    """How text is drawn."""

    model: str
    temperature: float = Field(1.0, ge=0, le=2)
    """0: always the likeliest token."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Among the likeliest tokens that hold this share together."""
    stop: Stops | None = None
    """Texts at which an answer ends; they are not part of it."""
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    """The same seed gives the same text."""
    n: int = Field(1, ge=1)
    """Texts for each prompt; of a seed the first has that one, the others those that follow."""
    stream: bool = False
    """Send the text piece by piece, as server-sent events."""
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with its count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(Drawn):
    """A prompt for a model that generates."""

    prompt: Texts
    max_tokens: int | None = Field(None, ge=1)
    """Tokens at most [16]."""


class Part(Body):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class Message(Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<list>")],
        Discriminator(_kind, "content", "wanted a text, or a list of parts"),
    ]
    name: str | None = None

    @property
    def plain(self) -> dict[str, str]:
        """As chat templates read it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Drawn):
    """A conversation for a model that generates."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """Tokens at most [as many as the server and the model allow]."""
