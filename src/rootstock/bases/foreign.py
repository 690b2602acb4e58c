"""Bases of PyTorch Hub and TensorFlow Hub: a checkpoint becomes safetensors under transformers' names, and nothing of it is run.

torchvision's ResNets are those of transformers under other names. Everything else says why it can't be used.
"""

import math
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rootstock.core import artifact
from rootstock.core.errors import BaseError, GateRefused, UnknownName
from rootstock.core.lock import alone
from rootstock.core.resources import cache_folder, torch_home
from rootstock.sentinel.convert import opened, write
from rootstock.sentinel.convert.values import Tensor

PREFIXES = ("torchhub:", "tfhub:")
LICENCE = "bsd-3-clause"
"""Of torchvision and what it publishes."""
_FORM = "torchhub:pytorch/vision:resnet50"
_SERVER = "https://download.pytorch.org/models/"
_SECONDS = 30


@dataclass(frozen=True)
class ResNet:
    """file: its published name, which ends with the first digits of its sha256."""

    file: str
    depths: tuple[int, int, int, int]
    bottleneck: bool

    def config(self) -> dict[str, Any]:
        """What transformers builds it from."""
        widths = [256, 512, 1024, 2048] if self.bottleneck else [64, 128, 256, 512]
        kind = {"layer_type": "bottleneck" if self.bottleneck else "basic", "downsample_in_bottleneck": False, "hidden_act": "relu"}
        shape = {"num_channels": 3, "embedding_size": 64, "hidden_sizes": widths, "depths": list(self.depths), "num_labels": 1000}
        return {"architectures": ["ResNetForImageClassification"], "model_type": "resnet", **kind, **shape}


RESNETS = {
    "resnet18": ResNet("resnet18-f37072fd.pth", (2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet("resnet34-b627a593.pth", (3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet("resnet50-0676ba61.pth", (3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNet("resnet101-63fe2227.pth", (3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNet("resnet152-394f9c45.pth", (3, 8, 36, 3), bottleneck=True),
}
"""The weights that torch.hub.load(..., pretrained=True) takes."""
_PIXELS = {
    "image_processor_type": "ConvNextImageProcessor",
    "crop_pct": 0.875,
    "size": {"shortest_edge": 224},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
"""How torchvision cuts and scales images for them."""
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
    if name not in RESNETS:
        raise UnknownName("model of pytorch/vision that transformers has under other names", name, RESNETS)
    return _made(name, RESNETS[name])


def _module(handle: str) -> NoReturn:
    name = re.sub(r"/\d+$", "", handle.removeprefix("https://tfhub.dev/"))
    same = next((to.format(found[1] or "" if found.lastindex else "") for form, to in _SAME if (found := re.fullmatch(form, name))), "")
    raise BaseError(
        f"tfhub:{handle} can't be built: a module is a program with variables, and their names tell no architecture of transformers",
        wanted="a base of the other hub" if not same else f"the same model from the other hub: {same}",
        fix=f"--base {same}" if same else "take the variables of a folder out: rootstock convert FOLDER --out safe",
    )


def _made(name: str, model: ResNet) -> Path:
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
        tensors = renamed(held.tensors, model)
        with artifact.whole_folder(place) as made:
            write.safetensors(made / "model.safetensors", tensors, "pt")
            artifact.write_json(made / "config.json", model.config())
            artifact.write_json(made / "preprocessor_config.json", _PIXELS)
    return place


def _fetch(name: str, file: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(_SERVER + file, timeout=_SECONDS) as answer:
            data = answer.read()  # at most 240 MB
    except OSError as error:
        raise BaseError(
            f"the weights of {name} are not here, and {_SERVER}{file} can't be fetched: {error}",
            wanted="a network, or the file",
            fix=f"put {file} at {target}",
        ) from error
    artifact.write_bytes(target, data)


# -- names ------------------------------------------------------------------------------------------------------------------


def renamed(tensors: Mapping[str, Tensor], model: ResNet) -> dict[str, Tensor]:
    """torchvision's tensors under transformers' names. Raises BaseError for a name that a ResNet has not."""
    found = {_name(each): tensor for each, tensor in tensors.items()}
    blocks = sum(model.depths)
    convolutions = blocks * (3 if model.bottleneck else 2) + 1
    held = sum(name.endswith("convolution.weight") and "shortcut" not in name for name in found)
    if held != convolutions:
        raise BaseError(
            f"the checkpoint has {held} convolutions beside the shortcuts", wanted=f"{convolutions}", fix="use the published file"
        )
    return found


def _name(name: str) -> str:
    parts = {"conv": "convolution", "bn": "normalization"}
    if found := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"resnet.embedder.embedder.{parts[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"fc\.(weight|bias)", name):
        return f"classifier.1.{found[1]}"
    if found := re.fullmatch(r"layer([1-4])\.(\d+)\.(conv|bn)([1-3])\.(\w+)", name):
        stage, block, kind, number, rest = found.groups()
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{parts[kind]}.{rest}"
    if found := re.fullmatch(r"layer([1-4])\.(\d+)\.downsample\.([01])\.(\w+)", name):
        stage, block, kind, rest = found.groups()
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{('convolution', 'normalization')[int(kind)]}.{rest}"
    raise BaseError(
        f"the checkpoint holds {name!r}, which a ResNet of torchvision has not", wanted="the published file", fix="fetch it again"
    )
