"""Writes the pages that derive from the code: the recipe, tasks, methods, steps of a corpus, tokenizers, and rules of the scanner.

Run `python docs/generate.py` after a change of a setting, task or method; tests/test_docs.py fails while a page is stale.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rootstock import catalog
from rootstock.core.method import Method
from rootstock.core.recipe import Recipe
from rootstock.core.stages import Stage, StagedRecipe
from rootstock.core.task import Labelled, Task
from rootstock.corpus import pipeline
from rootstock.corpus.families import FAMILIES, TokenizerSettings
from rootstock.corpus.minhash import Near
from rootstock.sentinel import rules

HERE = Path(__file__).parent
MARK = "<!-- Written by docs/generate.py from the code. Change the docstrings there, not this page. -->"
SIGNS = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))

RECIPE = """# The recipe

A recipe is one run written down. It is YAML, nested, and complete: every key has a default but `data.train` (with several tasks, that of
each part).
A key that does not exist is an error that names the nearest one that does. A relative path is taken from the recipe's own folder.

```sh
rootstock recipe show      # a commented recipe with every default
rootstock recipe schema    # JSON Schema, for editors
rootstock run recipes/stdlib-docs-lora.yaml --set method.r=16 --set training.epochs=1
```

`--set section.key=value` changes any key in `adapt` and `run`. The value is read as YAML. Another name of a task or method starts from
its own defaults. A run writes the resolved recipe, with every open choice filled in, to `recipe.yaml` in its folder.

Where a default is *none*, the meaning says what is filled in. What methods fill in is on [their page](methods.md).

A recipe may instead list [several stages](stages.md), each carried out on what the one before it left; their keys are
[at the end](#several-stages).
"""

STAGED = """Keys of a recipe that lists stages. A member of `stages` is called by its number, from 1 on:
`--set stages.2.training.epochs=1`. Its sections `data`, `training` and `budget` hold the keys above.
"""

TASKS = """# Tasks

A task turns rows into labelled batches, a loss, predictions and metrics. `rootstock tasks` lists them. Without `--task` the columns
decide: some are meant for one task ([data](data.md)), else labels that are names or a few whole numbers are classes, other numbers are
amounts. Objectives make their labels from the data itself: they are
for [`rootstock pretrain`](pretrain.md).
"""

METHODS = """# Methods

A method says which parameters learn. `rootstock methods` lists them. Without `--method` one is picked and the reason is printed:
below 500 training rows the frozen base, else the first of full, lora and feature-extraction whose estimate of time and memory fits.

Each method brings its own defaults, because methods compared at one learning rate are compared unfairly. The recipe overrides each.
A second rate is that of a trained base of text with 50 million parameters or more, T5's family aside ([advice](advice.md)).
[What a method leaves](adapters.md) says how it loads elsewhere, and what each gave on the same rows.
"""

STEPS = """# Steps of a corpus

What [`rootstock corpus build`](corpus.md) does to documents, in this order, with every rule and threshold. `--set steps.NAME.KEY=VALUE`
changes one. The funnel names each rule of the quality steps: those that dropped or changed something with count, share and examples, the
others under *nothing by*.
"""

TOKENIZERS = """# Tokenizers

```sh
rootstock tokenizer train corpus/ --kind wordpiece --size 8192 --out tok/
rootstock tokenizer show tok/ "The cat sat"
rootstock tokenizer show tok/ --file corpus/
rootstock pretrain corpus/ --task masked-lm --base scratch:bert-mini --tokenizer tok/
```

`train` learns a vocabulary and writes a folder that plain transformers loads (`AutoTokenizer.from_pretrained("tok/")`), and with it
`tokenizer-facts.json`: the settings, and the digests of what was read. The same texts give the same file. Nothing is done to a text that
a setting does not say: what becomes of capitals, digits and Unicode forms is in the table.

A size that does not hold special tokens and alphabet is refused, with the size that would; where the texts give fewer pieces than asked
for, there are fewer, and that is said.

## Which family

The special tokens are those of the model that is to use it, and objectives ask for them: one that hides tokens needs a mask,
`span-corruption` needs sentinels, `clip-tiny` an end behind each text. A missing one is an error that gives the command.
"""

TOLD = """## How well it fits

`show --file` cuts texts and reports by language, since one figure over all hides the language that is cut to letters:

| column | what |
| --- | --- |
| tokens/word | fertility: 1 is a token for each word; words as Unicode parts them (UAX 29) |
| chars/token, bytes/token | the same where words mean little; bytes compare between languages too |
| whole words | share of the words that are one token |
| unknown | share of the tokens that stand for something that the tokenizer does not know |
| alphabet | share of the characters, spaces aside, that it can write |

Beneath stand the words that were cut into most pieces. Languages are those that a built corpus or a column `language` names. `--json` has
every count.
"""

RULES = """# Rules of the scanner

What [`rootstock scan`](scanning.md) finds, by the id that stands in its reports and that a policy names.
"""

DEFAULTS = {
    "epochs": "training.epochs",
    "rate": "training.rate",
    "batch_tokens": "training.batch_tokens",
    "weight_decay": "training.weight_decay",
    "base_dropout": "training.dropout",
}
"""A method's own defaults and the keys of the recipe that override them."""


def pages() -> dict[str, str]:
    """File name to content of every generated page."""
    written = {"recipe.md": recipe_page(), "tasks.md": tasks_page(), "methods.md": methods_page(), "rules.md": rules_page()}
    written |= {"corpus_steps.md": steps_page(), "tokenizers.md": tokenizers_page()}
    return written | {f"rules/{name}.md": rule_page(name) for name in rules.ids()}


def rules_page() -> str:
    """Every rule of the scanner in a table."""
    rows = [f"| [{page.id}](rules/{page.id}.md) | {page.severity} | {page.title} |" for page in map(rules.rule, rules.ids())]
    return "\n".join([RULES.replace("\n", f"\n\n{MARK}\n", 1), "| rule | severity | what |", "| --- | --- | --- |", *rows, ""])


def rule_page(name: str) -> str:
    """One rule: what it looks for, why it matters, what to do."""
    page = rules.rule(name)
    head = f"# {page.title}\n\n{MARK}\n\nRule `{page.id}`, usually *{page.severity}*. [All rules](../rules.md)\n"
    return f"{head}\n{page.text}\n\n**Why it matters.** {page.why}\n\n**What to do.** {page.fix}\n"


def steps_page() -> str:
    """Each step of a build with its rules and settings."""
    parts = [STEPS, MARK]
    for name in (*pipeline.ORDER, "near-duplicates"):
        step = Near if name == "near-duplicates" else pipeline.find(name)
        told = [Near.__doc__ or ""] if step is Near else _paragraphs(step)
        asked = [f"Rules: {', '.join(step.rules)}."] if getattr(step, "rules", ()) else []
        parts += [f"## {name}", *told, *asked, table(step, f"steps.{name}.")]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def tokenizers_page() -> str:
    """The settings of a tokenizer, and the families."""
    rows = [
        [f"`{name}`", ", ".join(each.kinds), " ".join(each.first), " … ".join((*each.last[:1], *each.last[-1:])), each.single]
        for name, each in FAMILIES.items()
    ]
    families = grid(["family", "kinds", "special tokens, first ids", "last ids", "a text becomes"], rows)
    settings = table(TokenizerSettings, "--")
    parts = [TOKENIZERS.replace("\n", f"\n\n{MARK}\n", 1), families, "## Settings", settings, TOLD]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def recipe_page() -> str:
    """Every key of a recipe, then the settings of each task and method."""
    parts = [RECIPE, MARK, "## Top level", table(Recipe, "")]
    for name, field in Recipe.model_fields.items():
        section = _section(field)
        if section:
            parts += [f"## {name}", table(section, f"{name}.")]
    for section, kind in (("task", "tasks"), ("method", "methods"), ("augment", "augment")):
        for name in own(kind):
            parts += [f"## {section}: {name}", next(_told(kind, name)), _settings(kind, name)]
    parts += ["## Several stages", STAGED, table(StagedRecipe, ""), "## Each stage", table(Stage, "stages.N.")]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def tasks_page() -> str:
    """Each task with what it needs and what it reports."""
    parts = [TASKS, MARK]
    for name in own("tasks"):
        cls = catalog.find("tasks", name)
        headline = ", ".join(f"`{figure}`" for figure in cls().headline)
        rows = " of one answer a row" if issubclass(cls, Labelled) else ""
        first = f"Headline figures{rows}, each with a 95 % interval: {headline}. {_decides(cls())}"
        parts += [f"## {name}", *_told("tasks", name), first, _settings("tasks", name)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _decides(task: Task) -> str:
    """Which figure chooses the state that is kept."""
    first = task.chosen_by[0]
    return f"{'The first' if first == task.headline[0] else f'`{first}`'} decides which checkpoint is best."


def _large(method: type[Method], attribute: str) -> str:
    return f"; {method.large_rate:g}" if attribute == "rate" and method.large_rate else ""


def methods_page() -> str:
    """Each method with when to prefer it and its own defaults."""
    names = own("methods")
    classes = {name: catalog.find("methods", name) for name in names}
    rows = [
        [f"[{name}](#{name})", *(_plain(getattr(cls, attribute)) + _large(cls, attribute) for attribute in DEFAULTS), _left(cls)]
        for name, cls in classes.items()
    ]
    parts = [METHODS, MARK, grid(["method", *(f"`{key}`" for key in DEFAULTS.values()), "left in `model/`"], rows)]
    for name in names:
        parts += [f"## {name}", *_told("methods", name), _settings("methods", name)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _left(cls: Any) -> str:
    if cls.saves != "adapter":
        return "a whole model"
    return "an adapter" if cls.folds else "an adapter that can't be merged"


def own(kind: Any) -> list[str]:
    """Names of the catalog that this project brings; plug-ins that happen to be installed are left out."""
    return [name for name in catalog.names(kind) if catalog.find(kind, name).__module__.startswith("rootstock.")]


def table(settings: type[BaseModel], prefix: str) -> str:
    """Key, type, default and meaning of each field; sections of their own are only pointed to."""
    return grid(["key", "type", "default", "meaning"], list(_rows(settings, prefix)))


def _rows(settings: type[BaseModel], prefix: str) -> Iterator[list[str]]:
    """A row a field; of settings by name the fields of one, under NAME."""
    for name, field in settings.model_fields.items():
        if field.exclude:
            continue
        yield _row(name, field, prefix)
        held = get_args(field.annotation)[1:] if get_origin(field.annotation) is dict else ()
        if held and isinstance(held[0], type) and issubclass(held[0], BaseModel):
            yield from _rows(held[0], f"{prefix}{name}.NAME.")


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _row(name: str, field: FieldInfo, prefix: str) -> list[str]:
    meaning = " ".join((field.description or "").split())
    if _section(field):
        return [f"`{prefix}{name}`", f"[section](#{name})", "", meaning]
    return [f"`{prefix}{name}`", ", ".join([_type(field.annotation), *_bounds(field)]), _default(field), meaning]


def _section(field: FieldInfo) -> type[BaseModel] | None:
    found = field.annotation
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _type(annotation: Any) -> str:
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{member}`" for member in members)
    if origin in (Annotated, Union, UnionType):
        kinds = members[:1] if origin is Annotated else members
        return " or ".join(_type(member) for member in kinds if member is not type(None))
    if origin is tuple and members[0] is Stage:
        return "list of [stages](#each-stage)"
    if origin is tuple:
        return f"list of {_type(members[0])}"
    if origin is dict:
        return "mapping"
    return {str: "text", int: "whole number", float: "number", bool: "yes or no"}[annotation]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for attribute, sign in SIGNS:
            if getattr(limit, attribute, None) is not None:
                yield f"{sign} {getattr(limit, attribute)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "auto" if value == {"name": "auto"} else _plain(value or "") if isinstance(value, dict) else _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "*none*"
    if isinstance(value, bool):
        return "no" if not value else "yes"
    if isinstance(value, float):
        return f"{value:g}"
    return "*empty*" if value in ((), "", []) else str(value)


def _told(kind: Any, name: str) -> Iterator[str]:
    """The docstring of the file, paragraph by paragraph."""
    yield from _paragraphs(catalog.find(kind, name))


def _paragraphs(cls: type) -> Iterator[str]:
    told = sys.modules[cls.__module__].__doc__ or ""
    yield from (" ".join(paragraph.split()) for paragraph in told.split("\n\n"))


def _settings(kind: Any, name: str) -> str:
    cls = catalog.find(kind, name)
    shown = any(not field.exclude for field in cls.model_fields.values())
    return table(cls, f"{kind.removesuffix('s')}.") if shown else "It has no settings of its own."


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text, "utf-8")
        sys.stdout.write(f"{HERE / name}\n")


if __name__ == "__main__":
    main()
