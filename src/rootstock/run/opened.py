"""A base or a run, opened to look at: its model with the head that it was trained with, its tokenizer, and what it can be asked."""

import copy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from rootstock.bases import load as bases
from rootstock.bases.resolve import Resolved, resolve
from rootstock.core.errors import BaseError
from rootstock.core.loaded import Head
from rootstock.run.choices import config_file, room
from rootstock.run.prepared import device_name

Kind = Literal["masked", "causal", "seq2seq", "vision", "none"]
"""vision: it reads images, with captions or without; none: text, and no words come out."""
AUTO = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM", "none": "AutoModel"}
_ENDINGS: tuple[tuple[str, Kind], ...] = (
    ("ForMaskedLM", "masked"),
    ("WithLMHeadModel", "masked"),
    ("ForCausalLM", "causal"),
    ("LMHeadModel", "causal"),
    ("ForConditionalGeneration", "seq2seq"),
)
_TWO_HEADS = (
    "BertForPreTraining",
    "AlbertForPreTraining",
    "MobileBertForPreTraining",
    "MegatronBertForPreTraining",
    "BigBirdForPreTraining",
)
"""Checkpoints of masked words and sentence order together; ELECTRA's of this name has no words to say."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch normalisation: training writes them."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """architecture: the class that the checkpoint names. kind: what its head does. tokens: None where it reads no text. room: most tokens
    it takes."""

    base: Resolved
    architecture: str
    kind: Kind
    model: Any
    tokens: Any
    room: int

    @property
    def body(self) -> nn.Module:
        """The model without its head; of an encoder and a decoder the encoder."""
        found: nn.Module = self.model.get_encoder() if self.model.config.is_encoder_decoder else self.model.base_model
        return found

    def randomised(self, seed: int) -> "Opened":
        """The same architecture with weights as they are before any training."""
        return replace(self, model=randomised(self.model, seed))


def randomised(model: Any, seed: int) -> Any:
    """A frozen model of the same class and config with weights as they are before any training."""
    with bases.quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = type(model)(copy.deepcopy(model.config)).to(model.device).eval().requires_grad_(False)
    held = dict(model.named_buffers())
    for name, buffer in made.named_buffers():
        if name.rpartition(".")[2] not in _STATISTICS:
            buffer.copy_(held[name])  # what is not learned, such as how tokens are spelled
    return made


def open_base(reference: str) -> Opened:
    """The weights that a reference names, in fp32. Raises UnknownName, BaseError or GateRefused where it can't be used."""
    base = resolve(reference)
    if base.adapter:
        raise BaseError(f"{reference} is an adapter", wanted="a whole model", fix=bases.FOLD)
    named = _named(base)
    kind: Kind = next((found for found in map(kind_of, named) if found != "none"), "none")
    loaded = bases.load(base, Head(auto=AUTO[kind]), seed=0)
    if kind != "none" and loaded.fresh:
        raise BaseError(
            f"{reference} lacks {len(loaded.fresh)} of its head's tensors, first {min(loaded.fresh)}",
            wanted="the head that its config.json names",
            fix="use the config.json that belongs to these weights",
        )
    model: Any = loaded.model.to(device_name()).eval().requires_grad_(False)
    architecture = named[0] if named else type(model).__name__
    if model.main_input_name == "pixel_values" or hasattr(model, "vision_model"):
        tokens, most = _captions(base, model)
        return Opened(base=base, architecture=architecture, kind="vision", model=model, tokens=tokens, room=most)
    if not hasattr(model.config, "vocab_size"):
        raise BaseError(
            f"{reference} ({type(model).__name__}) reads other things than text and images",
            wanted="a model of text or of images",
            fix="name another base",
        )
    tokens = bases.tokenizer(base)
    bases.fit(tokens, model)
    return Opened(base=base, architecture=architecture, kind=kind, model=model, tokens=tokens, room=room(base))


def _captions(base: Resolved, model: Any) -> tuple[Any, int]:
    """The tokenizer of an image model that reads captions as well, and how many tokens it takes of one; (None, 0) for any other."""
    if not hasattr(model, "text_model"):
        return None, 0
    tokens = bases.tokenizer(base)
    bases.fit(tokens, model)
    said = getattr(model.text_model.config, "max_position_embeddings", None)
    return tokens, min(int(said or room(base)), room(base))


def kind_of(architecture: str) -> Kind:
    """What the head of a class does, by the name of the class."""
    if architecture in _TWO_HEADS:
        return "masked"
    return next((kind for ending, kind in _ENDINGS if architecture.endswith(ending)), "none")


def _named(base: Resolved) -> list[str]:
    """The classes that a checkpoint's config.json names; random weights have learned no head."""
    found = config_file(base, "config.json").get("architectures")
    return [str(each) for each in found or ()]
