"""What torchvision publishes and transformers has too, under other names: ResNets, ViTs and ConvNeXts, each as a config and new names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rootstock.core.errors import BaseError
from rootstock.sentinel.convert.values import Tensor


class Published(Protocol):
    """file: its published name, which ends with the first digits of its sha256."""

    @property
    def file(self) -> str: ...

    @property
    def crop(self) -> float:
        """The share of the shorter side that is cut out, once the image is scaled."""

    def config(self) -> dict[str, Any]:
        """What transformers builds it from."""

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's tensors under transformers' names. Raises BaseError for a name that the architecture has not."""


def pixels(model: Published) -> dict[str, Any]:
    """How torchvision cuts and scales images for it."""
    scale = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return {"image_processor_type": "ConvNextImageProcessor", "crop_pct": model.crop, "size": {"shortest_edge": 224}, **scale}


def _strange(name: str, kind: str) -> BaseError:
    what = f"the checkpoint holds {name!r}, which a {kind} of torchvision has not"
    return BaseError(what, wanted="the published file", fix="fetch it again")


# -- ResNet -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ResNet:
    """Residual networks of 2015; the stride of a bottleneck lies in its second convolution."""

    file: str
    depths: tuple[int, int, int, int]
    bottleneck: bool
    crop: float = 0.875

    def config(self) -> dict[str, Any]:
        """What transformers builds it from."""
        widths = [256, 512, 1024, 2048] if self.bottleneck else [64, 128, 256, 512]
        kind = {"layer_type": "bottleneck" if self.bottleneck else "basic", "downsample_in_bottleneck": False, "hidden_act": "relu"}
        shape = {"num_channels": 3, "embedding_size": 64, "hidden_sizes": widths, "depths": list(self.depths), "num_labels": 1000}
        return {"architectures": ["ResNetForImageClassification"], "model_type": "resnet", **kind, **shape}

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's tensors under transformers' names."""
        found = {_of_resnet(each): tensor for each, tensor in tensors.items()}
        blocks = sum(self.depths)
        convolutions = blocks * (3 if self.bottleneck else 2) + 1
        held = sum(name.endswith("convolution.weight") and "shortcut" not in name for name in found)
        if held != convolutions:
            raise BaseError(
                f"the checkpoint has {held} convolutions beside the shortcuts", wanted=f"{convolutions}", fix="use the published file"
            )
        return found


def _of_resnet(name: str) -> str:
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
    raise _strange(name, "ResNet")


# -- ViT --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ViT:
    """Vision transformers; torchvision keeps query, key and value in one matrix, of which each takes a third."""

    file: str
    patch: int
    width: int
    depth: int
    heads: int
    size: int = 224
    crop: float = 0.875

    def config(self) -> dict[str, Any]:
        """What transformers builds it from."""
        shape = {"hidden_size": self.width, "num_hidden_layers": self.depth, "num_attention_heads": self.heads}
        image = {"image_size": self.size, "patch_size": self.patch, "num_channels": 3, "intermediate_size": 4 * self.width}
        kind = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "num_labels": 1000}
        return {"architectures": ["ViTForImageClassification"], "model_type": "vit", **shape, **image, **kind}

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's tensors under transformers' names."""
        found = {name: part for each, tensor in tensors.items() for name, part in self._parts(each, tensor)}
        if len(found) != 8 + 16 * self.depth:
            raise BaseError(f"the checkpoint has {len(found)} tensors", wanted=f"{8 + 16 * self.depth}", fix="use the published file")
        return found

    def _parts(self, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        if whole := _VIT.get(name):
            yield whole, tensor
        elif found := re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(weight|bias)", name):
            for number, side in enumerate(("query", "key", "value")):
                yield f"vit.encoder.layer.{found[1]}.attention.attention.{side}.{found[2]}", _third(tensor, number, self.width)
        elif (found := re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.([\w.]+)\.(weight|bias)", name)) and found[2] in _VIT_LAYER:
            yield f"vit.encoder.layer.{found[1]}.{_VIT_LAYER[found[2]]}.{found[3]}", tensor
        else:
            raise _strange(name, "ViT")


_VIT = {
    "class_token": "vit.embeddings.cls_token",
    "encoder.pos_embedding": "vit.embeddings.position_embeddings",
    **{f"conv_proj.{kind}": f"vit.embeddings.patch_embeddings.projection.{kind}" for kind in ("weight", "bias")},
    **{f"encoder.ln.{kind}": f"vit.layernorm.{kind}" for kind in ("weight", "bias")},
    **{f"heads.head.{kind}": f"classifier.{kind}" for kind in ("weight", "bias")},
}
_VIT_LAYER = {
    "ln_1": "layernorm_before",
    "ln_2": "layernorm_after",
    "self_attention.out_proj": "attention.output.dense",
    **dict.fromkeys(("mlp.linear_1", "mlp.0"), "intermediate.dense"),
    **dict.fromkeys(("mlp.linear_2", "mlp.3"), "output.dense"),
}


def _third(tensor: Tensor, number: int, width: int) -> Tensor:
    """Rows from `number` times `width` on, as many as `width`."""
    return replace(tensor, offset=tensor.offset + number * width * tensor.strides[0], shape=(width, *tensor.shape[1:]))


# -- ConvNeXt ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvNext:
    """ConvNeXts; scales of a layer are a column there and a list here."""

    file: str
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    crop: float

    def config(self) -> dict[str, Any]:
        """What transformers builds it from."""
        shape = {"num_channels": 3, "patch_size": 4, "depths": list(self.depths), "hidden_sizes": list(self.widths), "num_labels": 1000}
        kind = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "image_size": 224}
        return {"architectures": ["ConvNextForImageClassification"], "model_type": "convnext", **shape, **kind}

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's tensors under transformers' names."""
        found = {}
        for each, tensor in tensors.items():
            scale = each.endswith(".layer_scale")
            found[_of_convnext(each)] = replace(tensor, shape=tensor.shape[:1], strides=tensor.strides[:1]) if scale else tensor
        wanted = 9 * sum(self.depths) + 20
        if len(found) != wanted:
            raise BaseError(f"the checkpoint has {len(found)} tensors", wanted=f"{wanted}", fix="use the published file")
        return found


_CONVNEXT = {"0.0": "embeddings.patch_embeddings", "0.1": "embeddings.layernorm"}
_CONVNEXT_HEAD = {"0": "convnext.layernorm", "2": "classifier"}
_CONVNEXT_BLOCK = {"0": "dwconv", "2": "layernorm", "3": "pwconv1", "5": "pwconv2"}


def _of_convnext(name: str) -> str:
    if (found := re.fullmatch(r"features\.(0\.[01])\.(weight|bias)", name)) is not None:
        return f"convnext.{_CONVNEXT[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"classifier\.([02])\.(weight|bias)", name):
        return f"{_CONVNEXT_HEAD[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"features\.([246])\.([01])\.(weight|bias)", name):
        return f"convnext.encoder.stages.{int(found[1]) // 2}.downsampling_layer.{found[2]}.{found[3]}"
    if found := re.fullmatch(r"features\.([1357])\.(\d+)\.layer_scale", name):
        return f"convnext.encoder.stages.{int(found[1]) // 2}.layers.{found[2]}.layer_scale_parameter"
    if found := re.fullmatch(r"features\.([1357])\.(\d+)\.block\.([0235])\.(weight|bias)", name):
        return f"convnext.encoder.stages.{int(found[1]) // 2}.layers.{found[2]}.{_CONVNEXT_BLOCK[found[3]]}.{found[4]}"
    raise _strange(name, "ConvNeXt")


MODELS: dict[str, Published] = {
    "resnet18": ResNet("resnet18-f37072fd.pth", (2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet("resnet34-b627a593.pth", (3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet("resnet50-0676ba61.pth", (3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNet("resnet101-63fe2227.pth", (3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNet("resnet152-394f9c45.pth", (3, 8, 36, 3), bottleneck=True),
    "vit_b_16": ViT("vit_b_16-c867db91.pth", patch=16, width=768, depth=12, heads=12),
    "vit_b_32": ViT("vit_b_32-d86f8d99.pth", patch=32, width=768, depth=12, heads=12),
    "vit_l_16": ViT("vit_l_16-852ce7e3.pth", patch=16, width=1024, depth=24, heads=16, crop=0.9256),
    "vit_l_32": ViT("vit_l_32-c7638314.pth", patch=32, width=1024, depth=24, heads=16),
    "convnext_tiny": ConvNext("convnext_tiny-983f1562.pth", (3, 3, 9, 3), (96, 192, 384, 768), crop=0.949),
    "convnext_small": ConvNext("convnext_small-0c510722.pth", (3, 3, 27, 3), (96, 192, 384, 768), crop=0.9739),
    "convnext_base": ConvNext("convnext_base-6075fbad.pth", (3, 3, 27, 3), (128, 256, 512, 1024), crop=0.9655),
    "convnext_large": ConvNext("convnext_large-ea097f82.pth", (3, 3, 27, 3), (192, 384, 768, 1536), crop=0.9655),
}
"""The weights that torch.hub.load(..., pretrained=True) takes."""
