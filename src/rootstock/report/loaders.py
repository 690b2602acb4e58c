"""How plain transformers loads a saved model, and what it is good for, by its class."""

from dataclasses import dataclass

from rootstock.report.facts import Facts, dig

OWN = "rootstock-"
"""What the types of our own architectures begin with: transformers knows them once their file is imported."""


@dataclass(frozen=True)
class Loader:
    """auto: the class of transformers that loads it. tag: the hub's pipeline. what: one line for people. use: the code shown."""

    auto: str
    tag: str
    what: str
    use: str


_FILLS = Loader("AutoModelForMaskedLM", "fill-mask", "A masked language model: it reads a text both ways and fills gaps in it", "fill")
_WRITES = Loader("AutoModelForCausalLM", "text-generation", "A causal language model: it reads from left to right and writes on", "write")
_REWRITES = Loader(
    "AutoModelForSeq2SeqLM", "text2text-generation", "An encoder and a decoder: the one reads a text, the other writes one", "rewrite"
)
_PAIRS = Loader(
    "AutoModel", "zero-shot-image-classification", "Two encoders that put images and texts that belong together side by side", "pairs"
)
_SEES = Loader("AutoModel", "image-feature-extraction", "An image encoder: it gives every patch of an image a vector", "see")
_READS = Loader("AutoModel", "feature-extraction", "A text encoder: it gives every token a vector", "read")
_BY_CLASS = (
    ("ForMaskedLM", _FILLS),
    ("BertForPreTraining", _FILLS),
    ("ForCausalLM", _WRITES),
    ("LMHeadModel", _WRITES),
    ("ForConditionalGeneration", _REWRITES),
    ("CLIPModel", _PAIRS),
)


def loader(facts: Facts) -> Loader:
    """What suits the saved class; an encoder where the class says nothing."""
    kind = str(dig(facts, "model", "class", default=""))
    found = next((each for ending, each in _BY_CLASS if kind.endswith(ending)), None)
    return found or (_SEES if dig(facts, "model", "image_size") else _READS)


def own_module(facts: Facts) -> str:
    """The module to import before transformers can load it; nothing for an architecture of its own."""
    kind = str(dig(facts, "model", "type", default=""))
    return f"rootstock.bases.{kind.removeprefix(OWN)}" if kind.startswith(OWN) else ""
