"""Classes of images: ours beside transformers' Trainer on the same rows of CIFAR-10, epochs and base; adds to results/pictures.jsonl.

    python bench/pictures.py [--rows 10000] [--epochs 10] [--seeds 1 2 3] [--base scratch:vit-tiny] [--rates 5e-5 5e-4]
    python bench/pictures.py --base runs/vision/simclr-0/model --method feature-extraction        # a linear probe of bench/vision.py's base

The peer is the image-classification example without augmentation, which ours has none of either; with feature-extraction its base is frozen
and only the classifier learns. From random weights both draw their own of the same config. Its rates: the example's, and our default. Ours
chooses its state on a tenth of the rows, which the peer learns from as well.
"""

import argparse
import io
import tarfile
import tempfile
from pathlib import Path

import beside
import sets

SET = sets.DATA / "cifar10_images"


def drawn(name, rows, out):
    """The first images of each class as a .tar of class folders, `rows` in all."""
    counts = {}
    with tarfile.open(SET / f"{name}.tar.gz") as held, tarfile.open(out, "w") as made:
        for member in held:
            label = Path(member.name).parent.name
            if member.isfile() and counts.get(label, 0) < rows // 10:
                counts[label] = counts.get(label, 0) + 1
                made.addfile(member, io.BytesIO(held.extractfile(member).read()))
    return out


def be_trainer(told):
    """A classifier of images as the example sets it up; its accuracy on the test images."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoConfig, AutoModelForImageClassification, Trainer, TrainingArguments, set_seed

    def images(path):
        with tarfile.open(path) as held:
            files = [member for member in held if member.isfile()]
            classes = sorted({Path(member.name).parent.name for member in files})
            for member in files:
                pixels = np.asarray(Image.open(io.BytesIO(held.extractfile(member).read())).convert("RGB"), dtype=np.float32) / 255
                picture = torch.from_numpy((pixels - 0.5) / 0.5).permute(2, 0, 1)
                yield {"pixel_values": picture, "labels": classes.index(Path(member.name).parent.name)}

    set_seed(told["seed"])
    if told["scratch"]:
        model = AutoModelForImageClassification.from_config(AutoConfig.from_pretrained(told["base"], num_labels=10))
    else:
        model = AutoModelForImageClassification.from_pretrained(told["base"], num_labels=10, ignore_mismatched_sizes=True)
    if told["frozen"]:
        model.base_model.requires_grad_(False)
    settings = {**beside.trainer_settings(told), "remove_unused_columns": False, "per_device_eval_batch_size": 128}
    settings.pop("train_sampling_strategy", None)
    trainer = Trainer(model=model, args=TrainingArguments(**settings), train_dataset=list(images(told["files"][0])))
    rates = beside.trained(trainer)
    made = trainer.predict(list(images(told["files"][1])))
    right = np.argmax(made.predictions if isinstance(made.predictions, np.ndarray) else made.predictions[0], -1) == made.label_ids
    return rates | {"test": {"accuracy": float(right.mean())}, "intervals": {"accuracy": beside.interval(np.mean, right)}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--base", default="scratch:vit-tiny")
    parser.add_argument("--method", default="full", help="full or feature-extraction")
    parser.add_argument("--rates", type=float, nargs="+", default=[5e-5, 5e-4], help="of the peer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": a.rows, "test": a.test_rows}
        files = [drawn(name, rows, Path(folder) / f"{name}.tar") for name, rows in parts.items()]
        for seed in a.seeds:
            row = {"base": a.base, "method": a.method, "rows": a.rows, "epochs": a.epochs, "seed": seed}
            out = Path(folder) / "run"
            options = ["--base", a.base, "--method", a.method, "--epochs", a.epochs, "--seed", seed]
            found = beside.adapted(out, files[0], *options) | beside.evaluated(out, files[1])
            beside.record("pictures", row | {"who": "ours"} | found, ("accuracy",))
            scratch = a.base.startswith("scratch:")
            told = {"files": files, "base": out / "model" if scratch else a.base, "scratch": scratch, "frozen": a.method != "full"}
            for rate in a.rates:
                more = {"batch": 32, "epochs": a.epochs, "rate": rate, "seed": seed, "mode": "tuned"}
                beside.record("pictures", row | {"who": "trainer", "rate": rate} | beside.peer("trainer", told | more), ("accuracy",))


if __name__ == "__main__":
    beside.serve({"trainer": be_trainer}) or main()
