"""What a recipe may hold, as JSON Schema and as a commented file; both derive from the fields' own docstrings."""

from typing import Any

import yaml
from pydantic import BaseModel

from rootstock import catalog
from rootstock.core.recipe import Recipe
from rootstock.core.stages import StagedRecipe

_EXAMPLE = {"data": {"train": "reviews.csv"}, "task": {"name": "text-classification"}, "method": {"name": "lora"}}


def json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, of one run or of several stages; task and method sections are any of the catalog's."""
    kinds = [Recipe.model_json_schema(), StagedRecipe.model_json_schema()]
    definitions = {key: value for kind in kinds for key, value in kind.pop("$defs", {}).items()}
    for section, kind in (("task", "tasks"), ("method", "methods"), ("augment", "augment")):
        options = [_section_schema(kind, name) for name in catalog.names(kind)]  # type: ignore[arg-type]
        definitions |= {key: value for option in options for key, value in option.pop("$defs", {}).items()}
        auto = {"type": "object", "properties": {"name": {"const": "auto"}}} if section != "augment" else {"type": "null"}
        definitions[section] = {"anyOf": [*options, auto]}
        for held in (kinds[0]["properties"], definitions["Stage"]["properties"]):
            held[section] = {"description": held[section]["description"], "$ref": f"#/$defs/{section}"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "anyOf": kinds, "$defs": definitions}


def _section_schema(kind: Any, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = catalog.find(kind, name).model_json_schema()
    schema["properties"] = {"name": {"const": name, "description": catalog.summary(kind, name)}, **schema["properties"]}
    schema["required"] = ["name", *schema.get("required", [])]
    return schema


def commented() -> str:
    """A recipe with every key, its default, and what it means."""
    recipe = Recipe.model_validate(_EXAMPLE)
    return "\n".join(_lines(recipe, 0)) + "\n"


def _lines(settings: BaseModel, depth: int) -> list[str]:
    lines, indent = [], "  " * depth
    for name, field in type(settings).model_fields.items():
        if field.exclude:
            continue
        value = getattr(settings, name)
        lines += [f"{indent}# {line}" for line in (field.description or "").splitlines()]
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_lines(value, depth + 1)]
        elif name in ("task", "method"):
            found = catalog.find(f"{name}s", value["name"])()  # type: ignore[arg-type]
            lines += [f"{indent}{name}:", f"{indent}  name: {value['name']}", *_lines(found, depth + 1)]
        else:
            plain = list(value) if isinstance(value, tuple) else value
            lines.append(
                f"{indent}{name}: {yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}"
            )
    return lines
