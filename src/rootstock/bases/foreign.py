"""Bases of PyTorch Hub and TensorFlow Hub: a checkpoint becomes safetensors under transformers' names, and nothing of it is run.

torchvision's ResNets, ViTs and ConvNeXts are those of transformers under other names. Everything else says why it can't be used.
"""

import math
import re
import urllib.request
from pathlib import Path
from typing import NoReturn

from rootstock.bases.torchvision import MODELS, Published, pixels
from rootstock.core import artifact
from rootstock.core.errors import BaseError, GateRefused, UnknownName
from rootstock.core.lock import alone
from rootstock.core.resources import cache_folder, torch_home
from rootstock.sentinel.convert import opened, write

PREFIXES = ("torchhub:", "tfhub:")
LICENCE = "bsd-3-clause"
"""Of torchvision and what it publishes."""
_FORM = "torchhub:pytorch/vision:resnet50"
_SERVER = "https://download.pytorch.org/models/"
_SECONDS = 30


_SAME = (
    (r"(?:.*/)?bert_en_(un)?cased_L-12_H-768_A-12", "google-bert/bert-base-{0}cased"),
    (r"(?:.*/)?bert_en_(un)?cased_L-24_H-1024_A-16", "google-bert/bert-large-{0}cased"),
    (r"(?:.*/)?bert_multi_cased_L-12_H-768_A-12", "google-bert/bert-base-multilingual-cased"),
    (r"(?:.*/)?small_bert/bert_en_uncased_(L-\d+_H-\d+_A-\d+)", "google/bert_uncased_{0}"),
    (r"(?:.*/)?electra_(small|base|large)", "google/electra-{0}-discriminator"),
)
"""Modules of TensorFlow Hub, and the same models on the other hub."""


def folder(reference: str) -> Path:
    """A folder with the base as transformers has it, made once. Raises BaseError where there is no such architecture, file or network."""
    if reference.startswith("tfhub:"):
        _module(reference.removeprefix("tfhub:"))
    repository, sign, name = reference.removeprefix("torchhub:").partition(":")
    if not sign or not name:
        raise BaseError(f"{reference} names no model of a repository", wanted=_FORM)
    if repository.partition("@")[0] != "pytorch/vision":
        why = "its names of tensors are known of pytorch/vision alone, and the repository's own code is never run"
        fix = "take the tensors of its checkpoint out: rootstock convert FILE"
        raise BaseError(f"{reference} can't be built: {why}", wanted=_FORM, fix=fix)
    if name not in MODELS:
        raise UnknownName("model of pytorch/vision that transformers has under other names", name, MODELS)
    return _made(name, MODELS[name])


def _module(handle: str) -> NoReturn:
    name = re.sub(r"/\d+$", "", handle.removeprefix("https://tfhub.dev/"))
    same = next((to.format(found[1] or "" if found.lastindex else "") for form, to in _SAME if (found := re.fullmatch(form, name))), "")
    raise BaseError(
        f"tfhub:{handle} can't be built: a module is a program with variables, and their names tell no architecture of transformers",
        wanted="a base of the other hub" if not same else f"the same model from the other hub: {same}",
        fix=f"--base {same}" if same else "take the variables of a folder out: rootstock convert FOLDER --out safe",
    )


def _made(name: str, model: Published) -> Path:
    """The converted folder in the cache; whole or absent, and made from the very file."""
    source = torch_home() / "hub" / "checkpoints" / model.file
    if not source.is_file():
        _fetch(name, model.file, source)
    digest, wanted = artifact.digest_file(source), model.file.removesuffix(".pth").rpartition("-")[2]
    if not digest.startswith(wanted):
        raise GateRefused(f"{source} has the sha256 {digest}", wanted=f"one that begins with {wanted}", fix="fetch it again")
    place = cache_folder() / "bases" / f"{name}-{digest[:16]}"
    with alone(place, patience=math.inf):  # others may ask for it at the same time
        if place.is_dir():
            return place
        held = opened.content(source)
        tensors = model.renamed(held.tensors)
        with artifact.whole_folder(place) as made:
            write.safetensors(made / "model.safetensors", tensors, "pt")
            artifact.write_json(made / "config.json", model.config())
            artifact.write_json(made / "preprocessor_config.json", pixels(model))
    return place


def _fetch(name: str, file: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(_SERVER + file, timeout=_SECONDS) as answer:
            data = answer.read()  # at most 1.2 GB
    except OSError as error:
        raise BaseError(
            f"the weights of {name} are not here, and {_SERVER}{file} can't be fetched: {error}",
            wanted="a network, or the file",
            fix=f"put {file} at {target}",
        ) from error
    artifact.write_bytes(target, data)
