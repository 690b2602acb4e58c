"""The bases of a comparison: an architecture that suits each objective, one tokenizer for all of them, and what a token of each costs."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.bases.scratch import ARCHITECTURES, facts
from rootstock.core import artifact
from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.task import Batch
from rootstock.core.watch import Say, Watch
from rootstock.corpus import tokenizer as learned
from rootstock.corpus.families import TokenizerSettings
from rootstock.loop.coupled import padded_tokens
from rootstock.loop.infer import to_device
from rootstock.loop.optimizer import Optimizer, decayed_names
from rootstock.planning.compute import Cost
from rootstock.run.build import Built, build
from rootstock.run.prepare import prepare

Size = Literal["tiny", "mini", "small"]
SIZES: tuple[str, ...] = get_args(Size)
_SHAPES = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512)}
"""Layers and width, as of BERT tiny, mini and small; every 64 of width are a head."""
_FAMILIES = {
    "masked-lm": "bert",
    "next-sentence": "bert",
    "contrastive-text": "bert",
    "causal-lm": "gpt2",
    "span-corruption": "t5",
    "denoising": "bart",
    "replaced-token": "electra-small",
    "cbow": "cbow",
    "bidirectional-lm": "elmo-small",
}
"""What each objective was made for; those with a size in their name have that one only."""
EVOLUTION = ("cbow", "bidirectional-lm", "causal-lm", "masked-lm", "span-corruption")
"""In the order of their years: word2vec 2013, ELMo 2018, GPT 2018, BERT 2018, T5 2019."""
_SENTINELS = [f"<extra_id_{number}>" for number in range(100)]


def chosen(objectives: Sequence[str], size: str) -> dict[str, str]:
    """Architecture by objective; "objective=architecture" names another. A name with a slash is a config.json's path.

    Raises UnknownName for an objective that is not compared here, an architecture or a size that is not there.
    """
    if size not in SIZES:
        raise UnknownName("size", size, SIZES)
    pairs = [each.partition("=")[::2] for each in objectives]
    if not pairs:
        raise UsageError("--objectives names none", wanted=f"some of {', '.join(_FAMILIES)}, with commas between")
    for name, told in pairs:
        if name not in _FAMILIES:
            raise UnknownName("objective to compare", name, _FAMILIES)
        if told:
            facts(told)
    return {name: told or _named(_FAMILIES[name], size) for name, told in pairs}


def _named(family: str, size: str) -> str:
    if family in ARCHITECTURES:
        return family
    layers, width = _SHAPES[size]
    known = f"{family}-{size}"
    return known if ARCHITECTURES.get(known) == _config(family, layers, width) else f"{family}-{layers}x{width}"


def references(architectures: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A `scratch:` reference by objective; shapes of our own are written as config files into the folder."""
    return {name: f"scratch:{_file(architecture, folder)}" for name, architecture in architectures.items()}


def _file(architecture: str, folder: Path) -> str:
    family, _, shape = architecture.rpartition("-")
    if architecture in ARCHITECTURES or "x" not in shape or architecture.endswith(".json"):
        return architecture
    layers, width = map(int, shape.split("x"))
    path = folder / architecture / "config.json"
    artifact.write_json(path, _config(family, layers, width))
    return str(path.resolve())


def _config(family: str, layers: int, width: int) -> dict[str, Any]:
    """The same layers and width for every family: T5 and BART have them in the encoder and again in the decoder."""
    heads = width // 64
    of_both = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in (("layers", layers), ("ffn_dim", 4 * width))}
    of_both |= {f"{side}_attention_heads": heads for side in ("encoder", "decoder")}
    changes: dict[str, dict[str, Any]] = {
        "bert": {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width},
        "gpt2": {"n_layer": layers, "n_embd": width, "n_head": heads},
        "t5": {"num_layers": layers, "num_decoder_layers": layers, "d_model": width, "d_kv": 64, "d_ff": 4 * width, "num_heads": heads},
        "bart": {"d_model": width, **of_both},
    }
    start = next(values for name, values in ARCHITECTURES.items() if values["model_type"] == family)
    return {**start, **changes[family]}


def arms(architectures: Mapping[str, str]) -> dict[str, str]:
    """By objective, the arm that starts from random weights: objectives of one architecture share it."""
    found: dict[str, str] = {}
    for name, architecture in architectures.items():
        path = Path(architecture)
        called = (path.parent.name if path.stem == "config" else path.stem) if architecture.endswith(".json") else architecture
        arm = f"scratch-{called}"
        found.setdefault(architecture, f"{arm}-{name}" if arm in found.values() else arm)
    return {name: found[architecture] for name, architecture in architectures.items()}


# -- one tokenizer ------------------------------------------------------------------------------------------------------------


def one_tokenizer(corpora: Sequence[str], given: Path | None, folder: Path, text: str | None, say: Say) -> None:
    """A tokenizer with the special tokens of every family, so that all objectives read the same tokens; learned where none is given."""
    source = given
    if source is None:
        settings = TokenizerSettings(case="lower").resolved()
        seen = learned.reading(corpora, text)
        source = folder.with_name("tokenizer-learned")
        told = learned.save(learned.train(seen, settings), settings, source, trained_on=seen.facts(), overwrite=True)
        say(f"tokenizer {told['size']:,} tokens, learned from the corpus")
    tokens = bases.tokenizer(resolve("scratch:bert-tiny", tokenizer=source))
    missing = [] if tokens.mask_token else ["[MASK]"]
    tokens.add_special_tokens({"mask_token": "[MASK]"} if missing else {})
    if tokens.convert_tokens_to_ids(_SENTINELS[0]) in (None, tokens.unk_token_id):
        tokens.add_special_tokens({"extra_special_tokens": _SENTINELS}, replace_extra_special_tokens=False)
        missing.append(f"{_SENTINELS[0]} …")
    if missing:
        say(f"tokenizer gets the special tokens that it lacks: {', '.join(missing)}")
    with artifact.whole_folder(folder.resolve()) as beside:
        tokens.save_pretrained(beside)


# -- what a token costs -------------------------------------------------------------------------------------------------------


def measured(recipe: Recipe, watch: Watch) -> Cost:
    """Count what a token passes, and time one update; nothing is kept."""
    prepared = prepare(recipe, lambda text: None)
    built = build(prepared, None, watch)
    task, model = prepared.task, built.learner
    assert isinstance(task, Objective)
    plan = built.feed.epoch(0)
    made = [to_device(batch, built.accelerator.device) for batch in built.feed.micro_batches(plan[0], epoch=0)]
    read = sum(padded_tokens(batch) for batch in made)
    seconds, count = _timed(built, task, made, prepared.method.groups(model, 0.0))
    layer, guessed = _guesses(task, model, made, count)
    in_decoder, in_body = _sizes(model)
    lengths = built.feed.encoded.lengths
    padded = [float(lengths[rows].max()) * len(rows) for rows in plan]
    update = read / padded[0] * sum(padded) / len(plan)
    return Cost(
        body=in_body,
        decoder=in_decoder,
        output=layer,
        guessed=guessed / read,
        seconds=seconds / read,
        update=update,
        corpus=update * len(plan),
    )


def _timed(built: Built, task: Objective, made: Sequence[Batch], groups: list[dict[str, Any]]) -> tuple[float, int]:
    """Seconds of an update (the second one: the first also warms up), and the items that its loss counts."""
    model = built.learner.train()
    masters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = Optimizer(masters, groups, decays=decayed_names(model), decay=0.0)
    for _ in range(2):
        started, count = time.perf_counter(), 0
        for batch in made:
            loss = task.loss(model, batch)
            loss.total.backward()  # type: ignore[no-untyped-call]
            count += loss.count
        optimizer.step(count, 1.0)
        seconds = time.perf_counter() - started
    return seconds, count


def _guesses(task: Objective, model: Any, made: Sequence[Batch], count: int) -> tuple[int, float]:
    """Weights that a guess is compared with, and guesses in these batches."""
    layer = model.get_output_embeddings() or model.get_input_embeddings()
    labels = [batch["labels"] for batch in made if "labels" in batch]
    if not labels:  # the model itself says what it guesses, or vectors are compared and no layer is there
        return layer.weight.numel(), float(count) if task.likelihood else 0.0
    if labels[0].dim() == 3:
        return labels[0].shape[2] * layer.weight.shape[1], float(count)
    return layer.weight.numel(), float(sum(_asked(each) for each in labels))


def _asked(labels: Tensor) -> int:
    return int((labels >= 0).sum())


def _sizes(model: Any) -> tuple[int, int]:
    """Parameters of the decoder, where there is an encoder too, and of all else; embeddings and the layer over the vocabulary left out."""
    words = model.config.vocab_size
    tables = {id(each.weight) for each in model.modules() if isinstance(each, nn.Embedding)}
    tables |= {id(parameter) for parameter in model.parameters() if parameter.shape[:1] == (words,)}
    inner = {id(parameter) for parameter in model.get_decoder().parameters()} if model.config.is_encoder_decoder else set()
    held = [(id(parameter) in inner, parameter.numel()) for parameter in model.parameters() if id(parameter) not in tables]
    return sum(size for inside, size in held if inside), sum(size for inside, size in held if not inside)
