"""Bases of other hubs: torchvision's ResNets answer alike under transformers' names; all else says why not."""

import hashlib

import pytest
import torch
import torch.nn.functional as F
import transformers

from rootstock.bases import foreign
from rootstock.bases.foreign import ResNet
from rootstock.bases.resolve import resolve
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

    def made(held, *, bottleneck, name="resnet18"):
        torch.save(held, place / "x.pth")
        digest = hashlib.sha256((place / "x.pth").read_bytes()).hexdigest()
        file = f"{name}-{digest[:8]}.pth"
        (place / "x.pth").rename(place / file)
        monkeypatch.setitem(foreign.RESNETS, name, ResNet(file, TINY, bottleneck=bottleneck))
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
