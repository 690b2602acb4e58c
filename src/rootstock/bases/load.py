"""The one door for weights: an admitted folder becomes a model whose fresh parameters are known by name."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rootstock.bases import scratch, vocabulary
from rootstock.bases.resolve import VOCABULARIES, Resolved, resolve
from rootstock.core.artifact import digest_bytes
from rootstock.core.errors import BaseError, ContractRefused, OutOfMemory, is_memory_shortage
from rootstock.core.loaded import Head, Loaded, configs
from rootstock.sentinel import safetensors

DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout",
    "dropout_rate",
    "classifier_dropout",
    "classifier_dropout_prob",
    "seq_classif_dropout",
    "qa_dropout",
    "summary_last_dropout",
    "summary_first_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "embedding_dropout",
    "mlp_dropout",
    "pooler_dropout",
)
"""What the architectures call their dropout."""

LABELLED = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering", "ForImageClassification")
"""Kinds of checkpoint whose head means something only with its own labels."""

_TABLES = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "tok_embeddings.weight", "shared.weight")
"""What architectures call their token embeddings."""

_CALLED = {
    "MaskedLM": "masked language",
    "CausalLM": "causal language",
    "Seq2SeqLM": "sequence-to-sequence",
    "SequenceClassification": "sequence classification",
    "QuestionAnswering": "question answering",
    "MultipleChoice": "multiple choice",
    "ImageClassification": "image classification",
    "PreTraining": "pre-training",
}
_SUITS = {"MaskedLM": "scratch:bert-mini", "CausalLM": "scratch:gpt2-tiny", "Seq2SeqLM": "scratch:t5-tiny"}

FOLD = "fold it into its base first (rootstock export RUN --to merged --out FOLDER), or name the base that it was trained on"

BUILD = {"dtype": torch.float32, "attn_implementation": None}
"""None stands against what a config.json may name: it gives sdpa where the architecture has it, and never code fetched from a hub."""


def load(base: Resolved, head: Head, *, seed: int, dropout: float | None = None) -> Loaded:
    """The base with the task's head in fp32, in evaluation mode; its fresh parameters depend on the seed only.

    A head for other labels is replaced, and then is fresh. Raises BaseError where the weights are not those of the architecture.
    """
    if base.adapter:
        raise BaseError(f"{base.reference} is an adapter", wanted="a whole model", fix=FOLD)
    with quiet(), _explained(base), torch.random.fork_rng(devices=[]):
        config = _config(base)
        labels = dict(config.id2label or {})
        _apply(config, head.options, dropout)
        torch.manual_seed(seed)
        auto = _auto(head)
        _check_kind(base, auto, config)
        if base.folder is None:
            model = auto.from_config(config, **BUILD)
            _spell(base, model)
            return Loaded(model.eval(), head, frozenset(name for name, _ in model.named_parameters()))
        stale = _stale(base, auto, config, same_labels=labels == dict(config.id2label or {}))
        model, report = _read(base, auto, config, stale)
        if base.added:
            vocabulary.grown(model, tokenizer(replace(base, added=())), base.added)
    return Loaded(model, head, _fresh(base, model, report))


def skeleton(base: Resolved, head: Head) -> Any:
    """The base's architecture with the task's head, without memory for its weights."""
    with quiet(), _explained(base):
        config = _config(base)
        _apply(config, head.options, None)
        return _skeleton(_auto(head), config).eval()


def tokenizer(base: Resolved) -> Any:
    """The fast tokenizer of a base, with the tokens that are added to it; random bases borrow minilm's where they were given none."""
    folder = base.folder or base.tokenizer or resolve("minilm").folder
    assert folder is not None
    if not any((folder / name).is_file() for name in VOCABULARIES):
        # transformers would build an empty tokenizer from config.json alone.
        raise BaseError(
            f"{folder} holds no tokenizer", wanted=f"one of {', '.join(VOCABULARIES)}", fix="save the tokenizer beside the model"
        )
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
        except Exception as error:  # the tokenizers library raises bare Exceptions for a file it can't read
            raise BaseError(f"the tokenizer in {folder} can't be read: {_first_line(error)}", fix="fetch or save it again") from error
    if not tokens.is_fast:
        raise BaseError(f"{folder} has no fast tokenizer", wanted="tokenizer.json", fix="convert it: AutoTokenizer(...).save_pretrained")
    # A tokenizer.json can carry a length of its own (minilm's cuts at 128): nothing is cut unless a task says so.
    tokens.backend_tokenizer.no_truncation()
    tokens.backend_tokenizer.no_padding()
    wanted = base.contract.get("tokenizer_sha256")
    if wanted and (found := tokenizer_digest(tokens)) != wanted:
        raise ContractRefused(
            f"the tokenizer in {folder} is not the one that the model was trained with: its digest is {found}",
            wanted=f"{wanted}, as in {folder / 'contract.json'}",
            fix="restore the folder",
        )
    return vocabulary.taught(tokens, base.added)


def tokenizer_digest(tokens: Any) -> str:
    """What tells two tokenizers apart: everything that decides their ids. Models of images alone have none."""
    return digest_bytes(tokens.backend_tokenizer.to_str().encode() if tokens is not None else b"")


def embeddings(base: Resolved) -> np.ndarray:
    """The table of token embeddings in fp32, [V, H]. Raises BaseError for a base of random weights."""
    if base.admission is None:
        raise BaseError(f"{base.reference} has random weights: it holds no word near another", fix="choose a base that was trained")
    from safetensors import safe_open

    for path in base.admission.weights:
        with safe_open(path, "pt") as held:
            for name in sorted(held.keys()):
                if name.endswith(_TABLES):
                    return np.asarray(held.get_tensor(name).float().numpy())
    raise BaseError(f"{base.reference} has no table of token embeddings", wanted=f"a tensor called {' or '.join(_TABLES)}")


def fit(tokens: Any, model: Any) -> None:
    """Make tokenizer and model agree on padding; raises BaseError where the tokenizer gives ids that the model has no row for."""
    # Of a model for images and captions it is the captions' half that reads tokens.
    rows = getattr(model, "text_model", model).get_input_embeddings().weight.shape[0]
    highest = max(tokens.get_vocab().values(), default=-1)
    if highest >= rows:
        raise BaseError(
            f"the tokenizer does not fit the model: it gives ids up to {highest}, and the model has {rows} embeddings",
            wanted=f"a tokenizer of at most {rows} tokens",
            fix="use the tokenizer that the model was trained with",
        )
    if tokens.pad_token is None:
        if tokens.eos_token is None:
            raise BaseError("the tokenizer has neither a padding nor an end token", fix="set pad_token in tokenizer_config.json")
        tokens.pad_token = tokens.eos_token
    model.config.pad_token_id = tokens.pad_token_id


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing reports and progress bars, and restore its settings after."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _explained(base: Resolved) -> Iterator[None]:
    """What transformers raises for an unfit checkpoint, as one clear BaseError."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (MemoryError, OSError, ValueError, KeyError, RuntimeError, StrictDataclassError) as error:
        if is_memory_shortage(error):
            raise OutOfMemory(f"{base.reference} does not fit in memory", fix="choose a smaller base") from error
        raise BaseError(
            f"{base.reference} can't be loaded: {_first_line(error)}", fix="choose another base, or correct its config.json"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])


def _auto(head: Head) -> Any:
    import transformers

    return getattr(transformers, head.auto)


def _config(base: Resolved) -> Any:
    if base.scratch is not None:
        return scratch.config(base.scratch, tokenizer(base) if scratch.takes_text(base.scratch) else None)
    from transformers import AutoConfig

    scratch.register(json.loads((base.folder / "config.json").read_text("utf-8")).get("model_type") if base.folder else None)
    return AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)


def _check_kind(base: Resolved, auto: Any, config: Any) -> None:
    """Raise BaseError where transformers has no such model of this architecture."""
    if type(config) not in auto._model_mapping:
        kind = auto.__name__.removeprefix("AutoModelFor").removeprefix("AutoModel") or "bare"
        raise BaseError(
            f"{base.reference} is a {config.model_type}, and of that there is no {_CALLED.get(kind, kind)} model",
            wanted="an architecture that the task can use",
            fix=f"choose a base such as {_SUITS[kind]}, or another --task" if kind in _SUITS else "choose another base, or another --task",
        )


def _spell(base: Resolved, model: Any) -> None:
    """Tell a model that reads letters how its tokens are spelled."""
    if hasattr(model.base_model, "spell"):
        model.base_model.spell(tokenizer(base).get_vocab())


def _apply(config: Any, options: Mapping[str, Any], dropout: float | None) -> None:
    # num_labels goes first: setting it to another number writes new label names over id2label.
    for name in sorted(options, key=lambda name: name != "num_labels"):
        setattr(config, name, options[name])
    for part, name in itertools.product(configs(config), DROPOUTS if dropout is not None else ()):
        if isinstance(getattr(part, name, None), int | float):
            setattr(part, name, float(dropout or 0))


def _stale(base: Resolved, auto: Any, config: Any, *, same_labels: bool) -> frozenset[str]:
    """Head tensors in the checkpoint that were trained for another kind of answer or for other labels."""
    kinds = [str(kind) for kind in config.architectures or ()]
    if not any(kind.endswith(LABELLED) for kind in kinds):
        return frozenset()
    skeleton = _skeleton(auto, config)
    if same_labels and type(skeleton).__name__ in kinds:
        return frozenset()
    return frozenset(name for path in _weights(base) for name in safetensors.header(path) if not in_body(skeleton, name))


def _skeleton(auto: Any, config: Any) -> Any:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return auto.from_config(config, **BUILD)


def _read(base: Resolved, auto: Any, config: Any, stale: frozenset[str]) -> tuple[Any, dict[str, Any]]:
    options = {"config": config, "ignore_mismatched_sizes": True, "output_loading_info": True, **BUILD}
    loaded: tuple[Any, dict[str, Any]]
    if not stale:
        loaded = auto.from_pretrained(base.folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options)
        return loaded
    from safetensors.torch import load_file

    state = {name: tensor for path in _weights(base) for name, tensor in load_file(path).items() if name not in stale}
    loaded = type(_skeleton(auto, config)).from_pretrained(None, state_dict=state, **options)
    loaded[0].name_or_path = str(base.folder)  # peft would ask the hub for a base of the name None
    return loaded


def _weights(base: Resolved) -> tuple[Path, ...]:
    assert base.admission is not None, "a folder is loaded only after the gate admitted it"
    return base.admission.weights


def in_body(model: Any, name: str) -> bool:
    """Whether a parameter is the base's own, not the head's."""
    prefix = model.base_model_prefix
    return not hasattr(model, prefix) or name.startswith(f"{prefix}.")


def _fresh(base: Resolved, model: nn.Module, report: Mapping[str, Any]) -> frozenset[str]:
    wrong = [(name, found, wanted) for name, found, wanted in sorted(report["mismatched_keys"]) if in_body(model, name)]
    if wrong:
        name, found, wanted = wrong[0]
        raise BaseError(
            f"{base.reference}: tensors with wrong shapes: {len(wrong)}, the first {name} {list(found)}",
            wanted=f"{list(wanted)}, as its config.json says",
            fix="use the config.json that belongs to these weights",
        )
    # Checkpoints of token-level tasks lack the pooler, so it may be fresh though it sits in the body.
    missing = sorted(name for name in report["missing_keys"] if in_body(model, name) and ".pooler." not in f".{name}")
    if missing:
        raise BaseError(
            f"{base.reference} lacks {len(missing)} of the base's tensors, first {missing[0]}",
            wanted=f"weights of {type(model).__name__}",
            fix="use the config.json that belongs to these weights",
        )
    lacking = {*report["missing_keys"], *(name for name, _, _ in report["mismatched_keys"])}
    return frozenset(name for name, _ in model.named_parameters() if name in lacking)
