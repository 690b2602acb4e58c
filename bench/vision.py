"""What pre-training on images is worth, in about twelve minutes of two cores each: SimCLR by a linear probe, CLIP by captions alone.

    python bench/vision.py [--parts simclr clip] [--rows 50000] [--seeds 1] [--folder runs/vision]

SimCLR: accuracy of a logistic regression on frozen vectors of the pre-trained encoder, beside the same encoder with random weights, on the
10,000 test images of CIFAR-10. CLIP: the captions are made from the labels, and each test image gets the class whose caption is nearest.
One line for each run is added to results/vision.jsonl. Training ends after `--epochs`, not by the clock, so that a busy machine measures
the same; its time is given as it was, and as processor time shared out to two cores.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from sets import DATA

import rootstock  # noqa: F401 - sets how threads wait, before torch is imported
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.loaded import Head
from rootstock.core.recipe import Recipe
from rootstock.core.resources import hardware
from rootstock.core.watch import Watch
from rootstock.data import images, pixels
from rootstock.evaluation.images import Colours, Images, linear_probe, zero_shot
from rootstock.verbs import api

HERE = Path(__file__).parent
SET = DATA / "cifar10_images"
SIDE, PROBED = 32, 20_000
TOWER = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512, "projection_dim": 128}
CONFIGS = {
    # A pre-activation ResNet with group normalisation (Kolesnikov et al. 2020, arXiv:1912.11370): convolutions learn sooner than patches
    # from few images, and no layer keeps statistics of its batches.
    "simclr": {
        "model_type": "bit", "layer_type": "preactivation", "embedding_size": 32, "hidden_sizes": [64, 128, 256], "depths": [1, 1, 1],
        "num_groups": 8, "image_size": SIDE,
    },
    # clip-tiny with patches of 8 pixels, 16 of them: a quarter of its work.
    "clip": {
        "model_type": "clip", "projection_dim": 128, "text_config": {**TOWER, "num_hidden_layers": 2, "max_position_embeddings": 77},
        "vision_config": {**TOWER, "image_size": SIDE, "patch_size": 8},
    },
}  # fmt: skip
SETTINGS = {
    "simclr": {
        "task": {"name": "contrastive-image", "temperature": 0.2, "area": 0.2},
        "training": {"epochs": 6, "rate": 2e-3, "batch_tokens": 8192, "micro_tokens": 8192},
    },
    "clip": {
        "task": {"name": "contrastive-image-text", "flip": 0.5},
        "training": {"epochs": 5, "rate": 1e-3, "batch_tokens": 3072, "micro_tokens": 4096},
    },
}


def labelled(name, rows=None):
    """Images and labels of one of the archives, and the names of the classes; a part is every so manieth."""
    shelf = images.shelf(str(SET / f"{name}.tar.gz"))
    chosen = shelf if rows is None else shelf.only(range(0, len(shelf.names), max(1, len(shelf.names) // rows)))
    found = pixels.read(chosen, SIDE)
    return Images(found.pixels, np.array([shelf.classes.index(chosen.texts[place]) for place in found.places])), shelf.classes


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pretrain(part, a, seed):
    """The run folder of one pre-training, and what it took."""
    folder = a.folder / f"{part}-{seed}"
    config = a.folder / part / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(CONFIGS[part]))
    settings = SETTINGS[part]
    training = {**settings["training"], "precision": "fp32"} | ({"epochs": a.epochs} if a.epochs else {})
    values = {
        "base": f"scratch:{config}", "task": settings["task"], "method": {"name": "full"}, "seed": seed, "training": training,
        "data": {"train": str(SET / "train.tar.gz"), "validation": 0.02, "rows": a.rows},
    }  # fmt: skip
    started, used = time.monotonic(), processor_seconds()
    if not (folder / "manifest.json").exists():
        api.carry_out(Recipe.build(values, ""), folder, Watch(say=print, event=tell), resume=(folder / "checkpoints").exists())
    events = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    minutes = {"wall": (time.monotonic() - started) / 60, "of_two_cores": (processor_seconds() - used) / 120}
    seen = sum(event["rows"] for event in events if event["event"] == "step")
    return folder, {"images_seen": seen, "minutes": {name: round(value, 2) for name, value in minutes.items()}}


def tell(event):
    if event["event"] == "evaluation":
        print(f"epoch {event['epoch']}: loss {event['loss']:.4f}, accuracy {event['accuracy']:.4f}", flush=True)


def encoder(reference, seed=0):
    """A model in evaluation mode and its base; a config's weights are random."""
    base = resolve(str(reference))
    return bases.load(base, Head(auto="AutoModel"), seed=seed).model.eval(), base


def simclr(a, seed):
    folder, facts = pretrain("simclr", a, seed)
    trained, random = encoder(folder)[0], encoder(f"scratch:{a.folder / 'simclr' / 'config.json'}", seed)[0]
    train, test = labelled("train", PROBED)[0], labelled("test")[0]
    found = linear_probe({"trained": trained, "random": random}, train, test, colours=Colours(), seed=seed, gain=("trained", "random"))
    return facts | {"parameters": sum(p.numel() for p in trained.parameters()), "probe_rows": len(train.labels), "accuracy": found}


def clip(a, seed):
    folder, facts = pretrain("clip", a, seed)
    model, base = encoder(folder)
    test, classes = labelled("test")
    captions = [f"a photo of a {name}" for name in classes]
    told = bases.tokenizer(base)(captions, padding=True, return_tensors="pt")
    found = zero_shot(model, told, test, colours=Colours(), seed=seed)
    return facts | {"parameters": sum(p.numel() for p in model.parameters()), "captions": captions, "accuracy": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=["simclr", "clip"], default=["simclr", "clip"])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs") / "vision")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "vision.jsonl")
    a = parser.parse_args()
    for part in a.parts:
        for seed in range(a.seeds):
            result = {"part": part, "seed": seed, "rows": a.rows, **{"simclr": simclr, "clip": clip}[part](a, seed)}
            result |= {"config": CONFIGS[part], "settings": SETTINGS[part], "epochs": a.epochs, "hardware": hardware()}
            print(json.dumps({key: result[key] for key in ("part", "seed", "images_seen", "minutes", "accuracy")}), flush=True)
            with a.out.open("a") as stream:
                stream.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
