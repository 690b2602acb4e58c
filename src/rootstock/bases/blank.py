"""A base without memory for its weights: its shapes alone, which is all that planning counts. Configs of well-known bases are embedded."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from rootstock.bases import scratch
from rootstock.bases.load import in_body
from rootstock.bases.resolve import HUB_ID, KNOWN, OFFLINE_CHOICES, SCRATCH
from rootstock.core.errors import BaseError, UnknownName
from rootstock.core.loaded import Head, Loaded
from rootstock.sentinel.gate import check_config

_TOKENS = 30_522
"""Tokens of minilm's tokenizer, which a base of random weights borrows where it gets none of its own."""


@cache
def published() -> dict[str, Any]:
    """Well-known bases by hub id: `config` as published, shortened to what is no default, and `parameters` as its own class counts them."""
    held: dict[str, Any] = json.loads(files("rootstock.bases").joinpath("published.json").read_text("utf-8"))
    return held


def name_of(reference: str) -> str | None:
    """The hub id of a well-known base that is called by it, or by its last part alone; None for any other."""
    if reference in KNOWN:
        reference = KNOWN[reference].hub_id
    wanted = reference.split("@")[0].lower()
    return next((name for name in published() if wanted in (name.lower(), name.lower().rsplit("/", 1)[-1])), None)


def config_of(reference: str) -> dict[str, Any]:
    """Config values of a base: a folder's, a run's, those of an architecture, a well-known base's, or the hub's.

    No weights are read or fetched. Raises UnknownName, BaseError where there is no config, GateRefused where it names code of its own.
    """
    if reference.startswith(SCRATCH):
        return {"vocab_size": _TOKENS, **scratch.facts(reference.removeprefix(SCRATCH))}
    if folder := _folder(reference):
        return _in_folder(folder)
    if name := name_of(reference):
        return dict(published()[name]["config"])
    found = HUB_ID.fullmatch(reference)
    if found is None or "/" not in reference:
        raise UnknownName("base", reference, [*KNOWN, *published(), *(SCRATCH + each for each in scratch.ARCHITECTURES)])
    return _from_hub(found["id"], found["revision"])


def processor_of(reference: str) -> dict[str, Any]:
    """What the image processor of a base in a folder is told; empty for any other base, and where there is none."""
    folder = _folder(reference)
    names = ("preprocessor_config.json", "processor_config.json") if folder else ()
    held = next((path for name in names if folder and (path := folder / name).is_file()), None)
    return _read(held) if held else {}


def _folder(reference: str) -> Path | None:
    """The folder of a model or of a run's model that a reference names; None where it names none."""
    place = Path(reference).expanduser()
    if reference.startswith(SCRATCH) or not place.is_dir():
        return None
    return place / "model" if (place / "model" / "config.json").is_file() else place


def _in_folder(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        whole = (folder / "adapter_config.json").is_file()
        found = f"{folder} holds an adapter" if whole else f"{folder} has no config.json"
        raise BaseError(found, wanted="a whole model's folder", fix="name the base that it was trained on" if whole else "correct --base")
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    check_config(path)
    held: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return held


def _from_hub(hub_id: str, revision: str | None) -> dict[str, Any]:
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        path = Path(hub.hf_hub_download(hub_id, "config.json", revision=revision))
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        near = [name for name in published() if hub_id.split("/", maxsplit=1)[0] == name.split("/")[0]]
        raise BaseError(
            f"the config of {hub_id} is not embedded and could not be fetched ({said})",
            wanted=f"a well-known base, such as {', '.join(near or list(published())[:3])}",
            fix=f"name one of these, a folder with its config.json, or {OFFLINE_CHOICES.split(': ')[1]}",
        ) from error
    return _read(path)


def shortened(config: Any, blocks: int) -> None:
    """Leave so many blocks of a model that is yet to be built, whatever its architecture calls them."""
    for name in _BLOCKS:
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, blocks)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]


def blank(reference: str, head: Head | None, *, device: str = "meta", blocks: int | None = None) -> Loaded:
    """The base in fp32 with random weights, or with none at all on the meta device, and the task's head; None gives the bare body.

    blocks: how many of its blocks, None: all. Fresh are the parameters outside its body, and all of them where its weights are random.
    Raises as config_of does, and BaseError where transformers has no such model of this architecture.
    """
    import transformers

    values = config_of(reference)
    kind = values.get("model_type")
    scratch.register(kind)
    try:
        config = transformers.AutoConfig.for_model(**{key: value for key, value in values.items() if key not in NOT_SHAPES})
    except (KeyError, TypeError, ValueError) as error:
        raise BaseError(f"{reference} is a {kind}, which transformers does not know", fix="choose another base") from error
    for name in sorted(head.options if head else (), key=lambda name: name != "num_labels"):
        setattr(config, name, head.options[name] if head else None)
    if blocks is not None:
        shortened(config, blocks)
    auto = getattr(transformers, head.auto if head else "AutoModel")
    if type(config) not in auto._model_mapping:
        raise BaseError(f"{reference} is a {kind}, and transformers has no {auto.__name__} of it", fix="choose another base or --task")
    with torch.device(device):
        model = auto.from_config(config, dtype=torch.float32)
    written = auto.__name__.endswith(("LM", "PreTraining"))  # a language model's output layer comes with its body
    lacking = set() if written else {name for name, _ in model.named_parameters() if not in_body(model, name)}
    every = {name for name, _ in model.named_parameters()}
    return Loaded(model, head or Head(auto="AutoModel"), frozenset(every if reference.startswith(SCRATCH) else lacking))


_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
NOT_SHAPES = ("torch_dtype", "dtype", "transformers_version", "architectures", "_name_or_path", "quantization_config", "generator_sizes")
"""Keys of a config.json that say nothing of its shapes."""
