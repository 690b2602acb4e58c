"""The bases of a comparison: an architecture that suits each objective, one tokenizer for all of them, and what a token of each costs."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rootstock.bases import load as bases
from rootstock.bases.resolve import SCRATCH, resolve
from rootstock.bases.scratch import ARCHITECTURES, facts, is_file
from rootstock.core import artifact
from rootstock.core.errors import UnknownName, UsageError
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.settings import changed
from rootstock.core.task import Batch
from rootstock.core.watch import Event, Say, Watch
from rootstock.corpus import tokenizer as learned
from rootstock.corpus.families import TokenizerSettings
from rootstock.loop.coupled import padded_tokens
from rootstock.loop.infer import to_device
from rootstock.loop.job import Job
from rootstock.loop.train import Training
from rootstock.planning.compute import Cost, body
from rootstock.run import choices
from rootstock.run.build import Built, build
from rootstock.run.prepare import prepare
from rootstock.run.prepared import Prepared
from rootstock.verbs.compare_plan import Plan, listed

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
USUAL = "masked-lm,causal-lm,span-corruption"
_SENTINELS = [f"<extra_id_{number}>" for number in range(100)]


def chosen(objectives: Sequence[str], size: str) -> dict[str, str]:
    """Architecture by objective; "objective=architecture" names another. A name with a slash is a config.json's path.

    Raises UnknownName for an objective that is not compared here, an architecture or a size that is not there, UsageError for one named
    twice.
    """
    if size not in SIZES:
        raise UnknownName("size", size, SIZES)
    pairs = [each.partition("=")[::2] for each in objectives]
    if not pairs:
        raise UsageError("--objectives names none", wanted=f"some of {', '.join(_FAMILIES)}, with commas between")
    names = [name for name, _ in pairs]
    for name, told in pairs:
        if name not in _FAMILIES:
            raise UnknownName("objective to compare", name, _FAMILIES)
        if names.count(name) > 1:
            fix = "compare its other architecture into another --out"
            raise UsageError(f"--objectives names {name} twice", wanted="each objective once", fix=fix)
        if told:
            facts(told)
    return {name: told or _named(_FAMILIES[name], size) for name, told in pairs}


def _named(family: str, size: str) -> str:
    if family in ARCHITECTURES:
        return family
    layers, width = _SHAPES[size]
    known = f"{family}-{size}"
    return known if ARCHITECTURES.get(known) == _config(family, layers, width) else f"{family}-{layers}x{width}"


def asked(objectives: str | None, *, evolution: bool) -> list[str]:
    """Objectives as a person writes them; UsageError where they are named in both ways."""
    if evolution and objectives:
        raise UsageError("--evolution and --objectives are given", wanted="one of them", fix=f"--evolution means {','.join(EVOLUTION)}")
    return list(EVOLUTION) if evolution else listed(USUAL if objectives is None else objectives)


def identity(architecture: str) -> str:
    """What tells an architecture from every other: its name, of a config.json also its digest."""
    if not is_file(architecture):
        return architecture
    path = Path(architecture).expanduser().resolve()
    return f"{path.parent.name if path.stem == 'config' else path.stem}, sha256 {artifact.digest_file(path)}"


def reference(architecture: str, folder: Path) -> str:
    """A `scratch:` reference; shapes of our own have their config in the folder of the comparison, where `write_shapes` puts it."""
    if is_file(architecture):
        return f"{SCRATCH}{Path(architecture).expanduser().resolve()}"
    return SCRATCH + (architecture if architecture in ARCHITECTURES else str(_place(architecture, folder).resolve()))


def write_shapes(architectures: Iterable[str], folder: Path) -> None:
    """Write the configs of shapes of our own."""
    for architecture in architectures:
        if architecture not in ARCHITECTURES and not is_file(architecture):
            family, _, shape = architecture.rpartition("-")
            layers, width = map(int, shape.split("x"))
            artifact.write_json(_place(architecture, folder), _config(family, layers, width))


def _place(architecture: str, folder: Path) -> Path:
    return folder / "architectures" / architecture / "config.json"


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


def arms(identities: Mapping[str, str]) -> dict[str, str]:
    """By objective, the arm that starts from random weights: objectives of one architecture share it. The first to have a name keeps it."""
    found: dict[str, str] = {}
    for name, each in identities.items():
        arm = f"scratch-{each.partition(', ')[0]}"
        found.setdefault(each, f"{arm}-{name}" if arm in found.values() else arm)
    return {name: found[each] for name, each in identities.items()}


def room(reference: str, tokenizer: Path) -> int:
    """The most tokens of a row that an architecture takes, before and after pre-training with this tokenizer."""
    told = artifact.read_json(tokenizer / "tokenizer_config.json", wanted="a tokenizer's folder", fix="begin again with --overwrite")
    takes = choices.room(resolve(reference, tokenizer=tokenizer))
    return int(min(takes, told.get("model_max_length") or takes))


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


def recipe(plan: Plan, name: str, folder: Path, steps: int | None = None) -> Recipe:
    """The pre-training of one objective."""
    corpora = list(plan.corpora)
    values = {
        "base": reference(plan.architectures[name], folder),
        "tokenizer": str((folder / "tokenizer").resolve()),
        "task": {"name": name, **({"text": plan.text} if plan.text else {})},
        "data": {"train": corpora[0] if len(corpora) == 1 else corpora, "validation": 0.05},
        "method": {"name": "full"},
        "training": {"steps": steps} if steps else {},
    }
    return Recipe.build(changed(values, plan.pretraining), "").anchored(Path.cwd())


def measured(recipe: Recipe, watch: Watch) -> Cost:
    """Count what a token passes, and time updates; nothing is kept."""
    prepared = prepare(recipe, lambda text: None)
    built = build(prepared, None, watch)
    assert isinstance(prepared.task, Objective)
    plan = built.feed.epoch(0)
    made = [to_device(batch, built.accelerator.device) for batch in built.feed.micro_batches(plan[0], epoch=0)]
    read = sum(padded_tokens(batch) for batch in made)
    layer, guessed = _guesses(prepared.task, built.learner, made)
    in_decoder, in_body = _sizes(built.learner)
    lengths = built.feed.encoded.lengths
    padded = [float(lengths[rows].max()) * len(rows) for rows in plan]
    update = read / padded[0] * sum(padded) / len(plan)
    return Cost(
        body=in_body,
        decoder=in_decoder,
        output=layer,
        guessed=guessed / read,
        seconds=_seconds(prepared, built),
        update=update,
        corpus=update * len(plan),
    )


def _seconds(prepared: Prepared, built: Built) -> float:
    """Seconds for each padded token of an update, by the training that will be: of three updates the last two, as the first warms up."""
    noted: list[Event] = []
    job = Job(
        model=built.learner,
        task=prepared.task,
        method=prepared.method,
        feed=built.feed,
        settings=prepared.recipe.training.model_copy(update={"steps": 3}),
        dtype=built.dtype,
        fresh=built.fresh,
        accelerator=built.accelerator,
        evaluate=lambda: ((0.0,), {}),
        note=noted.append,
        save=lambda moment: None,
    )
    with closing(Training(job)) as training:
        training.run()
    updates = [event for event in noted if event["event"] == "step"][1:]
    return float(sum(event["seconds"] for event in updates) / sum(event["tokens"] for event in updates))


def _guesses(task: Objective, model: Any, made: Sequence[Batch]) -> tuple[int, float]:
    """Weights that a guess is compared with, and guesses in these batches."""
    layer = model.get_output_embeddings() or model.get_input_embeddings()
    labels = [batch["labels"] for batch in made if "labels" in batch]
    if labels and labels[0].dim() < 3:
        return layer.weight.numel(), float(sum(_asked(each) for each in labels))
    if not labels and not task.likelihood:  # vectors are compared, and no layer is there
        return layer.weight.numel(), 0.0
    with torch.no_grad():  # the model itself says what it guesses
        count = sum(task.loss(model, batch).count for batch in made)
    return labels[0].shape[2] * layer.weight.shape[1] if labels else layer.weight.numel(), float(count)


def _asked(labels: Tensor) -> int:
    return int((labels >= 0).sum())


def _sizes(model: Any) -> tuple[int, int]:
    """Parameters of the decoder, where there is an encoder too, and of all else; embeddings and the layer over the vocabulary left out."""
    inner = {id(parameter) for parameter in model.get_decoder().parameters()} if model.config.is_encoder_decoder else set()
    held = [(id(parameter) in inner, parameter.numel()) for _, parameter in body(model)]
    return sum(size for inside, size in held if inside), sum(size for inside, size in held if not inside)
