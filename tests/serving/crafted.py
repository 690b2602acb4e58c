"""Models as runs leave them, with random weights in place of learned ones: their answers differ strongly, and no training is waited for."""

import torch

from rootstock import catalog
from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import UnknownName
from rootstock.core.method import learning
from rootstock.run import contract


def named(kind, found):
    """The name by which the catalogue knows a task or a method."""
    for name in catalog.names(kind):
        try:
            if catalog.find(kind, name) is type(found):
                return name
        except UnknownName:
            continue
    raise AssertionError(found)


@torch.no_grad()
def model(folder, base, task, method, seed=0):
    """A model with its contract in a folder, over a base in another."""
    found = resolve(str(base))
    loaded = bases.load(found, task.head(), seed=seed)
    tokens = bases.tokenizer(found)
    bases.fit(tokens, loaded.model)
    made = method.apply(loaded)
    torch.manual_seed(seed)
    for _, parameter in learning(made):
        parameter.add_(torch.randn_like(parameter) * 0.2)
    folder.mkdir(parents=True)
    fresh = sorted(method.original(name) for name in loaded.fresh)
    method.keep(made).save_pretrained(folder)
    tokens.save_pretrained(folder)
    if method.leaves != "model":
        loaded.model.config.save_pretrained(folder)
    told = {
        "base": {"reference": str(base), "sha256": found.digest, "hub_id": None, "revision": None},
        "tokenizer_sha256": bases.tokenizer_digest(bases.tokenizer(found)),
        "labels": list(getattr(task, "labels", ())),
        "length": 60,
        "precision": "fp32",
        "method": {"name": named("methods", method), **method.plain()},
        "task": {"name": named("tasks", task), **task.plain()},
        "saves": "adapter" if method.leaves != "model" else "model",
        "fresh": fresh,
    }
    contract.write(told, folder)
    return folder
