"""Typed settings: frozen, keyword-only, an unknown key an error that gives the nearest name."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from rootstock.core.errors import RecipeError, UsageError, nearest

_LONGEST = 80
_WANTED = {
    "bool_parsing": "yes or no",
    "bool_type": "yes or no",
    "string_type": "a text",
    "string_too_short": "a name that is not empty",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number that is neither nan nor infinite",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "{min_length} or more of them",
}
"""Pydantic's kinds of errors in plain words."""


class Settings(BaseModel):
    """The base of everything a recipe can set. Each field's docstring is its documentation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,  # 16 for a float is 16.0 when it is read again: what is written must not hang on which of them it was
    )

    @field_validator("*", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes and no as true and false: a choice gets its word back, and a number is never made of them."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if not isinstance(value, bool) or annotation is bool:
            return value
        if {"yes", "no"} <= set(get_args(annotation)):
            return "yes" if value else "no"
        raise ValueError("no yes, no, true or false")

    @classmethod
    def build(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate plain values; `where` is the key path used in messages, such as "method".

        Raises RecipeError naming the key, what was found and what is allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error.errors()[0], where) from None

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values, ready for YAML."""
        return self.model_dump(mode="json")


def number(text: str) -> int | float | None:
    """A number as people write it, also 3e-4, which YAML 1.1 takes for a word; None for anything else."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def changed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with some keys (section.key) set; another task or method starts from its own defaults.

    Members of a list go by their number, from 1 on: stages.2.training.epochs.
    """
    values = copy.deepcopy(values)
    for path, value in changes.items():
        *parents, last = path.split(".")
        section: Any = values
        for parent in parents:
            section = _below(section, parent)
        if not isinstance(section, dict):
            raise UsageError(f"there is no key {path!r}", wanted="section.key=value, such as method.r=16")
        own = bool(parents) and parents[-1].isdecimal()  # what a member of a list is called, not what it is
        if last == "name" and not own and section.get("name") not in (None, value):
            section.clear()
        section[last] = value
    return values


def check_free(changes: Iterable[str], own: Mapping[str, str], who: str) -> None:
    """Raise UsageError for a key of --set that whoever asks sets itself. own: such keys, and what to use instead."""
    for key in changes:
        if taken := next((each for each in own if f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.")), None):
            raise UsageError(f"--set {key}: {who} sets {taken} itself", wanted="keys that are the same for all", fix=own[taken])


def _below(section: Any, key: str) -> Any:
    """The part of a section under a key, made where it is not there; None where there can be none."""
    if isinstance(section, list):
        return section[int(key) - 1] if key.isdecimal() and 1 <= int(key) <= len(section) else None
    if isinstance(section, dict) and section.get(key) is None:
        section[key] = {}
    return section[key] if isinstance(section, dict) else None


def _explain(cls: type[BaseModel], first: Any, where: str) -> RecipeError:
    """One of pydantic's errors in the words of a recipe."""
    owner, names = _owner(cls, first["loc"])
    path = ".".join([*([where] if where else []), *names])
    if first["type"] == "extra_forbidden":
        near = _meant(owner, names[-1])
        return RecipeError(
            f"unknown key {path!r}",
            wanted=f"one of {', '.join(sorted(owner.model_fields))}" if owner.model_fields else "no key: there is nothing to set here",
            fix=f"did you mean {near!r}?" if near else "remove the key",
        )
    field = owner.model_fields[names[-1].partition(".")[0]]
    if first["type"] == "missing":
        return RecipeError(
            f"the key {path!r} is missing", wanted=field.description or "", fix="add it; `rootstock recipe show` prints a whole one"
        )
    near = nearest(str(first["input"]), _words(field.annotation))
    return RecipeError(
        f"{path} is {_shown(first['input'])}",
        wanted=_wanted(first, path, field.annotation),
        fix=f"did you mean {near!r}?" if near else f"correct {path}, in the recipe or on the command line",
    )


def _owner(cls: type[BaseModel], location: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The settings that an error lies in, and the keys that lead to it; what pydantic adds for members of unions and lists is dropped.

    Of a list of settings the number stays, counted from 1 on.
    """
    names: list[str] = []
    parts = list(location)
    while parts:
        names.append(str(parts.pop(0)))
        annotation = cls.model_fields[names[-1]].annotation if names[-1] in cls.model_fields else None
        if get_origin(annotation) is dict and len(parts) > 1:  # settings under names that are no keys
            names.append(str(parts.pop(0)))
            annotation = get_args(annotation)[1]
        below = _section(annotation)
        if below is None or not parts:
            break
        if isinstance(parts[0], int):
            names[-1] += f".{int(parts.pop(0)) + 1}"
        if not parts:
            break
        cls = below
    return cls, names


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings that a field holds, one or a list of them."""
    return next((each for each in (annotation, *get_args(annotation)) if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _meant(cls: type[BaseModel], name: str) -> str | None:
    """The known key that an unknown one may stand for: one of the same section, or one of a section below."""
    sections = {key: found for key, field in cls.model_fields.items() if (found := _section(field.annotation))}
    below = {key: f"{section}.{key}" for section, found in sections.items() for key in found.model_fields}
    return below.get(name) or nearest(name, cls.model_fields) or below.get(nearest(name, below) or "")


def _wanted(first: Any, path: str, annotation: Any) -> str:
    if first["type"] == "dict_type":
        return f"keys and values, such as {path}.name={_shown(first['input'])}"
    if first["type"] == "model_type" and (held := _section(annotation)):
        return f"keys and values, such as {path}.{next(iter(held.model_fields))}=…"
    if first["type"] == "tuple_type":
        return f"a list, such as [{first['input']}]"
    spoken = _WANTED.get(first["type"])
    if spoken:
        return spoken.format(**first.get("ctx", {}))
    return str(first["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _words(annotation: Any) -> list[str]:
    """The words that a choice allows, also where it may be None."""
    return [word for part in (annotation, *get_args(annotation)) for word in get_args(part) if isinstance(word, str)]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
