"""The search for task-agnostic backdoors in an encoder without a head: a token that makes every text's vector the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import UsageError
from rootstock.core.loaded import Head
from rootstock.core.watch import Say
from rootstock.run.choices import config_file
from rootstock.run.opened import kind_of
from rootstock.run.pooled import Pooled
from rootstock.sentinel.weights.encoder import Collapsed, collapsed

_BARE = Head(auto="AutoModel")
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice", "ForImageClassification")
_MARKS = ("[unused", "<unused")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What was found, with the words of its tokens."""

    found: Collapsed
    words: dict[int, str]

    @property
    def backdoor_detected(self) -> bool:
        """Whether there is evidence; weak evidence is none yet."""
        return self.found.verdict == "evidence found"

    def lines(self) -> list[str]:
        """What a person would say of it."""
        found = self.found
        natural = "" if found.natural is None else f", {found.natural:.2f} at most in the reference"
        head = f"{found.tried:,} tokens were put into texts; vectors of two texts with a random one are alike by {found.usual:.2f}{natural}"
        named = [f"{self.words[each.token]!r} makes any two texts alike by {each.cosine:.2f}" for each in found.found]
        weak = ["no reference encoder was given: a token may press as much in every encoder of its kind"] if found.natural is None else []
        return [f"{found.verdict}: {named[0] if named else 'no token makes texts alike'}", head, *named[1:], *weak]

    def as_json(self) -> dict[str, Any]:
        """For machines; indicators as those of a classifier's scan."""
        named = [{"stage": "collapsed output", "trigger": self.words[each.token], **vars(each)} for each in self.found.found]
        return {"backdoor_detected": self.backdoor_detected, **self.found.as_json(), "indicators": named}


def bare(reference: str) -> bool:
    """Whether a folder or hub id is an encoder alone, without a head that answers or writes."""
    found = resolve(reference)
    kinds = config_file(found, "config.json").get("architectures") or ()
    return not found.adapter and not any(str(each).endswith(_HEADS) or kind_of(str(each)) == "causal" for each in kinds)


def searched(model: str, texts: Sequence[str], *, reference: str | None = None, seed: int = 0, say: Say = lambda text: None) -> Named:
    """Search the folder or hub id of an encoder. texts: any 20 different ones or more; labels are not needed.

    reference: an encoder with the same vocabulary that is trusted, such as the base that this one was trained from; without one the verdict
    is weak evidence at most. Raises UsageError where the two have different vocabularies.
    """
    suspect, tokens = _opened(model)
    trusted = None
    if reference is not None:
        trusted, others = _opened(reference)
        if tokens.get_vocab() != others.get_vocab():
            raise UsageError(f"{reference} has another vocabulary than {model}", wanted="a reference with the same", fix="name its base")
    usable = _usable(tokens, suspect)
    say(f"encoder   {len(usable):,} tokens are tried" + ("" if trusted else "; there is no reference, so any evidence is weak"))
    bodies = tokens(list(texts), add_special_tokens=False)["input_ids"]
    found = collapsed(Pooled(suspect, tokens), bodies, usable, reference=Pooled(trusted, tokens) if trusted else None, seed=seed)
    words = {each.token: str(tokens.convert_ids_to_tokens(each.token)) for each in found.top}
    return Named(found=found, words=words)


def _opened(reference: str) -> tuple[Any, Any]:
    base = resolve(reference)
    return bases.load(base, _BARE, seed=0).model, bases.tokenizer(base)


def _usable(tokens: Any, model: Any) -> list[int]:
    """Tokens that a text can hold: no special ones, none that is reserved."""
    count = min(len(tokens), model.get_input_embeddings().weight.shape[0])
    special = set(tokens.all_special_ids)
    return [
        i for i, word in enumerate(tokens.convert_ids_to_tokens(range(count))) if word and i not in special and not word.startswith(_MARKS)
    ]
