"""New tokens for a base: its tokenizer keeps them whole, and the row of each begins as the mean of the pieces that it was until now.

Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html: a row drawn at random may make a new token likelier than all others
together; a mean can't. Where a method freezes the table, the new rows learn beside it, and no old one moves.
Shape letters: V rows of a table, K new ones, H width, B rows of a batch, T tokens.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional

from rootstock.core import artifact
from rootstock.core.errors import BaseError, ContractRefused, RecipeError
from rootstock.sentinel.gate import NEW_ROWS

_PEFT = ("adapter_model.safetensors", "adapter_config.json", "trainable_token_indices")
_LISTS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml")


def listed(given: str | Sequence[str]) -> tuple[str, ...]:
    """Tokens as a recipe names them: a list, a file with one a line, or several with commas between. RecipeError for a missing file."""
    if not isinstance(given, str):
        return tuple(given)
    path = Path(given).expanduser()
    if not path.is_file() and ("/" in given or path.suffix.lower() in _LISTS):
        raise RecipeError(f"there is no file {given}", wanted="a file with one token a line, or tokens with commas between")
    try:
        held = path.read_text("utf-8-sig").splitlines() if path.is_file() else given.split(",")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{given} can't be read: {error}", wanted="tokens in UTF-8, one a line") from None
    return tuple(each.strip() for each in held if each.strip())


def taught(tokens: Any, added: Sequence[str]) -> Any:
    """The tokenizer with new tokens, matched as whole words where they begin or end with a letter.

    RecipeError where one is there already, or is cut in another way than as itself.
    """
    if not added:
        return tokens
    known = [token for token in added if token != token.strip() or _known(tokens, token)]
    if known or len(set(added)) < len(added):
        again = known or [token for place, token in enumerate(added) if token in added[:place]]
        state = "in the vocabulary already" if known else "named twice"
        raise RecipeError(
            f"{len(again)} of {len(added)} tokens {'is' if len(again) == 1 else 'are'} {state}: {_some(again)}",
            wanted="tokens that are cut into pieces so far",
            fix="take these out of add_tokens",
        )
    first = max(tokens.get_vocab().values()) + 1
    tokens.add_tokens([AddedToken(each, normalized=True, single_word=each[0].isalnum() or each[-1].isalnum()) for each in added])
    wrong = [token for place, token in enumerate(added) if first + place not in tokens(token, add_special_tokens=False)["input_ids"]]
    if wrong:
        raise RecipeError(
            f"the tokenizer does not tell {_some(wrong)} from others, case and accents aside",
            wanted="tokens that differ as the tokenizer reads them",
            fix="take these out of add_tokens",
        )
    return tokens


def _known(tokens: Any, token: str) -> bool:
    """Whether it is one known token already, as the tokenizer reads it."""
    ids = tokens(token, add_special_tokens=False)["input_ids"]
    return token in tokens.get_vocab() or (len(ids) == 1 and ids[0] != tokens.unk_token_id)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(map(repr, names[:most])) + (" …" if len(names) > most else "")


def ids_of(tokens: Any, added: Sequence[str]) -> range:
    """The ids of the new tokens; they follow one another."""
    first = int(tokens.convert_tokens_to_ids(added[0])) if added else 0
    return range(first, first + len(added))


@torch.no_grad()
def grown(model: Any, before: Any, added: Sequence[str]) -> None:
    """Give the model rows for new tokens, in its table and its output layer. before: the tokenizer without them.

    Raises RecipeError for a token without pieces, BaseError where the model has no table of tokens.
    """
    pieces = [before(token, add_special_tokens=False)["input_ids"] for token in added]
    if empty := [token for token, ids in zip(added, pieces, strict=True) if not ids]:
        raise RecipeError(f"the tokenizer reads nothing in {_some(empty)}", wanted="tokens with letters", fix="take these out")
    first = max(before.get_vocab().values()) + 1
    try:
        if first + len(added) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(first + len(added), mean_resizing=False)
    except (AttributeError, NotImplementedError) as error:
        raise BaseError(f"{type(model).__name__} has no table of tokens that could grow", fix="leave add_tokens out") from error
    for layer in _layers(model).values():
        for held in (layer.weight, getattr(layer, "bias", None)):
            if held is not None:
                held[first : first + len(added)] = torch.stack([held[ids].mean(0) for ids in pieces])


def _layers(model: Any) -> dict[str, Any]:
    """By name, the module of the table, and that of the output layer where its weight is another."""
    table, output = model.get_input_embeddings(), getattr(model, "get_output_embeddings", lambda: None)()
    chosen = [table, *([output] if output is not None and output.weight is not table.weight else [])]
    names = {id(module): name for name, module in model.named_modules(remove_duplicate=False)}
    return {names[id(module)].removeprefix("base_model.model."): module for module in chosen}


class NewRows(nn.Module):
    """A table whose rows from `first` on are others: these learn."""

    def __init__(self, table_VH: Tensor, ids: range) -> None:
        super().__init__()
        self.first = ids.start
        self.embedding_rows = nn.Parameter(table_VH[ids.start : ids.stop].detach().clone())

    def forward(self, table_VH: Tensor) -> Tensor:
        """The whole table."""
        rows_KH = self.embedding_rows
        return torch.cat([table_VH[: self.first], rows_KH.to(table_VH.dtype), table_VH[self.first + len(rows_KH) :]])


def _whole(layer: Any) -> Tensor:
    """The weight of a layer whose new rows learn apart."""
    found: Tensor = layer.new(layer.table)
    return found


def _looked_up(layer: Any, ids_BT: Tensor) -> Tensor:
    """Vectors of ids. The table is not written anew for it, nor gets it a gradient."""
    rows_KH, place_BT = layer.new.embedding_rows, ids_BT - layer.new.first
    inside_BT = (place_BT >= 0) & (place_BT < len(rows_KH))
    old_BTH = functional.embedding(ids_BT, layer.table, layer.padding_idx)
    return torch.where(inside_BT[..., None], functional.embedding(place_BT.clamp(0, len(rows_KH) - 1), rows_KH), old_BTH)


def opened(model: Any, ids: range) -> nn.Module:
    """The model in which the rows of new tokens learn though its method froze the table; where the whole table learns, as it was.

    RecipeError where the method changes the table itself.
    """
    for layer in _layers(model).values():
        if not isinstance(layer, nn.Embedding | nn.Linear):
            raise RecipeError("the method changes the table of tokens itself", wanted="other targets", fix="leave it out of method.targets")
        weight = layer.weight
        if weight.requires_grad:
            continue
        rows = NewRows(weight, ids)
        for module in [each for each in model.modules() if each._parameters.get("weight") is weight]:
            kind, quick = type(module), type(module).forward is nn.Embedding.forward  # a table that scales has a forward pass of its own
            del module._parameters["weight"]
            module.__class__ = type(f"New{kind.__name__}", (kind,), _PLAIN | ({"forward": _looked_up} if quick else {}))
            module.table, module.new = weight, rows
    return cast(nn.Module, model)


_PLAIN = {"weight": property(_whole)}


@torch.no_grad()
def closed(model: nn.Module) -> nn.Module:
    """The same model with plain tables, the rows that learned in their places."""
    for module in [each for each in model.modules() if isinstance(each._modules.get("new"), NewRows)]:
        new, table = module._modules.pop("new"), module._parameters.pop("table")
        assert isinstance(new, NewRows)
        assert table is not None
        table[new.first : new.first + len(new.embedding_rows)] = new.embedding_rows.to(table.dtype)
        module.__class__ = type(module).__bases__[0]
        module._parameters = {"weight": table, **module._parameters}
    return model


def save(model: Any, ids: range, folder: Path) -> None:
    """Put the new rows beside a saved adapter: as peft's own where its kind of adapter has a place for them, else in a file."""
    rows = {name: layer.weight[ids.start : ids.stop].detach().cpu().clone() for name, layer in _layers(model).items()}
    weights, config, key = _PEFT
    told = json.loads((folder / config).read_text("utf-8"))
    if key not in told:
        save_file(rows | {"ids": torch.tensor(list(ids))}, folder / NEW_ROWS, metadata={"format": "pt"})
        return
    named = {f"base_model.model.{name}.token_adapter.trainable_tokens_delta": row for name, row in rows.items()}
    save_file({**load_file(folder / weights), **named}, folder / weights, metadata={"format": "pt"})
    artifact.write_json(folder / config, told | {key: {name: list(ids) for name in rows}})


@torch.no_grad()
def put(model: Any, folder: Path) -> None:
    """Put the rows that `save` left in a file into their places; ContractRefused where there is none for them."""
    if not (folder / NEW_ROWS).is_file():
        return
    held, layers = load_file(folder / NEW_ROWS), _layers(model)
    ids = held.pop("ids")
    for name, row_KH in held.items():
        weight = layers[name].weight if name in layers else None
        if weight is None or len(weight) <= int(ids.max()) or weight.shape[1] != row_KH.shape[1]:
            raise ContractRefused(f"the rows of new tokens for {name} find no place in the base", wanted="the base that it was trained on")
        weight[ids] = row_KH
