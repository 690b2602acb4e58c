"""Bases of other hubs: what torchvision publishes answers alike under transformers' names; all else says why not."""

import hashlib
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import transformers

from rootstock.bases import foreign, torchvision
from rootstock.bases.resolve import resolve
from rootstock.bases.torchvision import ConvNext, ResNet, ViT
from rootstock.core.errors import BaseError, GateRefused, UnknownName

TINY = (1, 2, 1, 1)


def weights(*, bottleneck):
    """A state dict with torchvision's names and widths, and numbers that differ."""
    torch.manual_seed(0)
    held = {}

    def convolution(name, out, into, size):
        held[f"{name}.weight"] = torch.randn(out, into, size, size) / (into * size * size) ** 0.5

    def norm(name, width):
        held.update({f"{name}.{part}": torch.rand(width) + 0.5 for part in ("weight", "bias", "running_mean", "running_var")})
        held[f"{name}.num_batches_tracked"] = torch.tensor(3)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    width = 64
    for stage, blocks in enumerate(TINY, 1):
        inner = 64 * 2 ** (stage - 1)
        out = inner * 4 if bottleneck else inner
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            shapes = [(inner, width, 1), (inner, inner, 3), (out, inner, 1)] if bottleneck else [(inner, width, 3), (inner, inner, 3)]
            for number, shape in enumerate(shapes, 1):
                convolution(f"{at}.conv{number}", *shape)
                norm(f"{at}.bn{number}", shape[0])
            if block == 0 and (width != out or stage > 1):
                convolution(f"{at}.downsample.0", out, width, 1)
                norm(f"{at}.downsample.1", out)
            width = out
    held["fc.weight"], held["fc.bias"] = torch.randn(1000, width) / width**0.5, torch.randn(1000)
    return held


def answered(held, x, *, bottleneck):
    """torchvision's forward pass: the stride of a bottleneck lies in its second convolution."""

    def norm(x, at):
        parts = (held[f"{at}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.max_pool2d(F.relu(norm(F.conv2d(x, held["conv1.weight"], stride=2, padding=3), "bn1")), 3, 2, 1)
    for stage, blocks in enumerate(TINY, 1):
        for block in range(blocks):
            at, stride, kept = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1, x
            strides = [(1, 0), (stride, 1), (1, 0)] if bottleneck else [(stride, 1), (1, 1)]
            for number, (step, padding) in enumerate(strides, 1):
                x = norm(F.conv2d(x, held[f"{at}.conv{number}.weight"], stride=step, padding=padding), f"{at}.bn{number}")
                x = F.relu(x) if number < len(strides) else x
            if f"{at}.downsample.0.weight" in held:
                kept = norm(F.conv2d(kept, held[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            x = F.relu(x + kept)
    return F.linear(x.mean((2, 3)), held["fc.weight"], held["fc.bias"])


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small ResNet at the place where torch keeps checkpoints, under a name that tells its digest."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)

    def made(held, *, bottleneck=False, name="resnet18", model=None):
        torch.save(held, place / "x.pth")
        digest = hashlib.sha256((place / "x.pth").read_bytes()).hexdigest()
        file = f"{name}-{digest[:8]}.pth"
        (place / "x.pth").rename(place / file)
        monkeypatch.setitem(torchvision.MODELS, name, replace(model, file=file) if model else ResNet(file, TINY, bottleneck=bottleneck))
        return place / file

    return made


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_resnet_answers_as_torchvisions_does(published, bottleneck):
    held = weights(bottleneck=bottleneck)
    published(held, bottleneck=bottleneck)
    base = resolve("torchhub:pytorch/vision:resnet18")
    assert base.licence == "bsd-3-clause"
    model = transformers.ResNetForImageClassification.from_pretrained(base.folder).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, answered(held, x, bottleneck=bottleneck), rtol=1e-3, atol=1e-3)
    assert resolve("torchhub:pytorch/vision:resnet18").digest == base.digest


def vit_weights(model, *, old):
    """A state dict with torchvision's names; old: those of its files before 0.13, which the published ones have."""
    torch.manual_seed(0)
    width, patches = model.width, (model.size // model.patch) ** 2
    shapes = {"class_token": (1, 1, width), "encoder.pos_embedding": (1, patches + 1, width)}
    shapes |= {"conv_proj.weight": (width, 3, model.patch, model.patch), "conv_proj.bias": (width,)}
    for i in range(model.depth):
        at = f"encoder.layers.encoder_layer_{i}"
        first, second = ("linear_1", "linear_2") if old else ("0", "3")
        shapes |= {f"{at}.self_attention.in_proj_weight": (3 * width, width), f"{at}.self_attention.in_proj_bias": (3 * width,)}
        sides = ((".self_attention.out_proj", width, width), (f".mlp.{first}", 4 * width, width), (f".mlp.{second}", width, 4 * width))
        shapes |= {f"{at}{name}.weight": (out, into) for name, out, into in sides} | {f"{at}{name}.bias": (out,) for name, out, _ in sides}
        shapes |= {f"{at}.{norm}.{kind}": (width,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
    shapes |= {"encoder.ln.weight": (width,), "encoder.ln.bias": (width,), "heads.head.weight": (1000, width), "heads.head.bias": (1000,)}
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def vit_answers(model, held, x):
    """torchvision's forward pass."""

    def norm(x, at):
        return F.layer_norm(x, (model.width,), held[f"{at}.weight"], held[f"{at}.bias"], 1e-6)

    x = F.conv2d(x, held["conv_proj.weight"], held["conv_proj.bias"], stride=model.patch).flatten(2).transpose(1, 2)
    x = torch.cat([held["class_token"].expand(len(x), -1, -1), x], 1) + held["encoder.pos_embedding"]
    for i in range(model.depth):
        at = f"encoder.layers.encoder_layer_{i}"
        part = norm(x, f"{at}.ln_1")
        q, k, v = F.linear(part, held[f"{at}.self_attention.in_proj_weight"], held[f"{at}.self_attention.in_proj_bias"]).chunk(3, -1)
        q, k, v = (each.unflatten(-1, (model.heads, -1)).transpose(1, 2) for each in (q, k, v))
        part = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + F.linear(part, held[f"{at}.self_attention.out_proj.weight"], held[f"{at}.self_attention.out_proj.bias"])
        first, second = ("linear_1", "linear_2") if f"{at}.mlp.linear_1.weight" in held else ("0", "3")
        part = F.gelu(F.linear(norm(x, f"{at}.ln_2"), held[f"{at}.mlp.{first}.weight"], held[f"{at}.mlp.{first}.bias"]))
        x = x + F.linear(part, held[f"{at}.mlp.{second}.weight"], held[f"{at}.mlp.{second}.bias"])
    return F.linear(norm(x, "encoder.ln")[:, 0], held["heads.head.weight"], held["heads.head.bias"])


def assert_answers(name, kind, size, answers):
    """A published base answers in transformers as torchvision's forward pass does, which `answers` writes out."""
    built = kind.from_pretrained(resolve(f"torchhub:pytorch/vision:{name}").folder).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(built(x).logits, answers(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("old", [True, False])
def test_a_vit_answers_as_torchvisions_does(published, old):
    model = ViT("", patch=8, width=16, depth=2, heads=2, size=32)
    held = vit_weights(model, old=old)
    published(held, name="vit_b_16", model=model)
    assert_answers("vit_b_16", transformers.ViTForImageClassification, 32, partial(vit_answers, model, held))


def convnext_weights(model):
    """A state dict with torchvision's names."""
    torch.manual_seed(0)
    shapes = {}

    def add(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    add("features.0.0", model.widths[0], 3, 4, 4)
    add("features.0.1", model.widths[0])
    for stage, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        if stage:
            add(f"features.{2 * stage}.0", model.widths[stage - 1])
            add(f"features.{2 * stage}.1", width, model.widths[stage - 1], 2, 2)
        for block in range(depth):
            at = f"features.{2 * stage + 1}.{block}"
            shapes[f"{at}.layer_scale"] = (width, 1, 1)
            for number, shape in ((0, (width, 1, 7, 7)), (2, (width,)), (3, (4 * width, width)), (5, (width, 4 * width))):
                add(f"{at}.block.{number}", *shape)
    add("classifier.0", model.widths[-1])
    add("classifier.2", 1000, model.widths[-1])
    return {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def convnext_answers(model, held, x):
    """torchvision's forward pass."""

    def of(at):
        return held[f"{at}.weight"], held[f"{at}.bias"]

    def norm(x, at):
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *of(at), 1e-6).permute(0, 3, 1, 2)

    x = norm(F.conv2d(x, *of("features.0.0"), stride=4), "features.0.1")
    for stage, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        if stage:
            x = F.conv2d(norm(x, f"features.{2 * stage}.0"), *of(f"features.{2 * stage}.1"), stride=2)
        for block in range(depth):
            at = f"features.{2 * stage + 1}.{block}"
            part = F.conv2d(x, *of(f"{at}.block.0"), padding=3, groups=width).permute(0, 2, 3, 1)
            part = F.linear(F.layer_norm(part, (width,), *of(f"{at}.block.2"), 1e-6), *of(f"{at}.block.3"))
            x = x + held[f"{at}.layer_scale"] * F.linear(F.gelu(part), *of(f"{at}.block.5")).permute(0, 3, 1, 2)
    return F.linear(norm(x.mean((2, 3), keepdim=True), "classifier.0").flatten(1), *of("classifier.2"))


def test_a_convnext_answers_as_torchvisions_does(published):
    model = ConvNext("", (1, 2, 1, 1), (8, 12, 16, 20), crop=0.949)
    held = convnext_weights(model)
    published(held, name="convnext_tiny", model=model)
    assert_answers("convnext_tiny", transformers.ConvNextForImageClassification, 64, partial(convnext_answers, model, held))


@pytest.mark.parametrize(
    ("name", "edge"), [("resnet50", 256), ("vit_b_16", 256), ("vit_l_16", 242), ("convnext_tiny", 236), ("convnext_base", 232)]
)
def test_images_are_scaled_and_cut_as_torchvision_does(name, edge):
    assert int(224 / torchvision.pixels(torchvision.MODELS[name])["crop_pct"]) == edge


@pytest.mark.parametrize(
    ("name", "model", "held"),
    [
        ("vit_b_16", ViT("", patch=8, width=16, depth=2, heads=2, size=32), {"encoder.odd.weight": torch.ones(1)}),
        ("convnext_tiny", ConvNext("", (1, 1, 1, 1), (4, 4, 4, 4), crop=0.949), {"features.9.0.weight": torch.ones(1)}),
        ("convnext_tiny", ConvNext("", (1, 1, 1, 1), (4, 4, 4, 4), crop=0.949), {"features.0.0.weight": torch.ones(1)}),
    ],
)
def test_a_file_of_another_architecture_is_refused(published, name, model, held):
    published(held, name=name, model=model)
    with pytest.raises(BaseError, match=r"checkpoint (has|holds)"):
        resolve(f"torchhub:pytorch/vision:{name}")


def test_another_file_under_the_name_is_refused(published):
    path = published(weights(bottleneck=False), bottleneck=False)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(GateRefused, match="begins with"):
        resolve("torchhub:pytorch/vision:resnet18")


def test_other_tensors_under_the_digest_are_refused(published):
    published({"conv1.weight": torch.ones(1), "odd": torch.ones(1)}, bottleneck=False)
    with pytest.raises(BaseError, match="'odd'"):
        resolve("torchhub:pytorch/vision:resnet18")


def test_without_file_and_network_the_place_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(foreign.urllib.request, "urlopen", unreachable)
    with pytest.raises(BaseError, match="no route to host") as told:
        resolve("torchhub:pytorch/vision:resnet50")
    assert f"put resnet50-0676ba61.pth at {tmp_path}/hub/checkpoints/resnet50-0676ba61.pth" in str(told.value)


@pytest.mark.parametrize(
    ("reference", "kind", "said"),
    [
        ("torchhub:pytorch/vision:resnet51", UnknownName, "resnet50"),
        ("torchhub:pytorch/vision:vgg16", UnknownName, "transformers has"),
        ("torchhub:pytorch/vision:vit_b_61", UnknownName, "vit_b_16"),
        ("torchhub:ultralytics/yolov5:yolov5s", BaseError, "never run"),
        ("torchhub:resnet50", BaseError, "names no model"),
        ("tfhub:https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4", BaseError, "google-bert/bert-base-uncased"),
        ("tfhub:tensorflow/bert_en_cased_L-24_H-1024_A-16", BaseError, "google-bert/bert-large-cased"),
        ("tfhub:small_bert/bert_en_uncased_L-2_H-128_A-2", BaseError, "google/bert_uncased_L-2_H-128_A-2"),
        ("tfhub:google/universal-sentence-encoder/4", BaseError, "rootstock convert FOLDER"),
    ],
)
def test_what_has_no_architecture_says_why(reference, kind, said):
    with pytest.raises(kind, match=said):
        resolve(reference)
