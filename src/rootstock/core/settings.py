"""Typed settings: frozen, keyword-only, an unknown key an error that gives the nearest name."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from rootstock.core.errors import RecipeError, nearest


class Settings(BaseModel):
    """The base of everything a recipe can set. Each field's docstring is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def build(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate plain values; `where` is the key path used in messages, such as "method".

        Raises RecipeError naming the key, what was found and what is allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error, where) from None

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values, ready for YAML."""
        return self.model_dump(mode="json")


def _explain(cls: type[BaseModel], error: ValidationError, where: str) -> RecipeError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in (*([where] if where else []), *first["loc"]))
    if first["type"] == "extra_forbidden":
        known = _known_keys(cls, first["loc"][:-1])
        near = nearest(str(first["loc"][-1]), known)
        return RecipeError(
            f"unknown key {path!r}",
            wanted=f"one of {', '.join(sorted(known))}",
            fix=f"did you mean {near!r}?" if near else "remove the key",
        )
    return RecipeError(f"{path}: found {first['input']!r}", wanted=str(first["msg"]), fix=f"correct {path} in the recipe or with --set")


def _known_keys(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = cls.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return list(cls.model_fields)
