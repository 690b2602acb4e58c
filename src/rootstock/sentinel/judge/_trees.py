"""The syntax tree of a chat template: escapes from the sandbox, and words of the user that change what the template says.

The template is parsed by jinja2 and never rendered. Only judge/templates.py imports this, when there is a template.
"""

import re
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from rootstock.sentinel.findings import Severity
from rootstock.sentinel.judge._folding import UNKNOWN, fold
from rootstock.sentinel.judge._phrases import Phrases
from rootstock.sentinel.judge.words import words

WALKS = words(
    "mro subclasses func_globals func_code func_closure gi_frame gi_code gi_yieldfrom cr_frame cr_code cr_await ag_frame ag_code"
    " f_globals f_builtins f_locals f_code f_back tb_frame tb_next im_func im_self im_class co_code environment_class"
)
"""Attributes that lead from a value to the interpreter, beside all with two underscores in front."""

RUNNERS = words("open eval exec __import__ compile getattr setattr globals locals vars import_module popen system spawn check_output")
HANDLES = words("lipsum cycler joiner self request config g url_for get_flashed_messages")
"""Globals by which known escapes begin and which no chat template needs."""

MOST_TURNS = 1_000_000
BY_ATTRIBUTE = words("attr map selectattr rejectattr sort groupby unique sum min max")
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def findings(template: str) -> Iterator[tuple[str, str, Severity | None]]:
    """Rule, what and severity for everything found in a template's tree."""
    tree = _parse(template)
    if isinstance(tree, str):
        severity: Severity | None = "malicious" if re.search(r"__\w+__|\.popen|\|\s*attr", template) else None
        yield "template-unreadable", f"is no template that jinja2 can read: {tree}", severity
        return
    phrases = Phrases(tree)
    for rule, what in dict.fromkeys((*_escapes(tree, phrases.constants), *phrases.findings())):
        yield rule, what, None


def _parse(template: str) -> nodes.Template | str:
    environment = Environment(extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"], autoescape=False)
    template = _GENERATION.sub(lambda match: f"{match[1]}{'endif' if match[2] else 'if true'}{match[3]}", template)
    try:
        return environment.parse(template)
    except TemplateSyntaxError as error:
        return str(error.message)[:120]


def _escapes(tree: nodes.Template, constants: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Call, nodes.Name)):
        if isinstance(node, nodes.Getattr):
            yield from _by_name(node.attr)
        elif isinstance(node, nodes.Getitem):
            yield from _subscript(node.arg, constants)
        elif isinstance(node, nodes.Filter):
            yield from _filter(node, constants)
        elif isinstance(node, nodes.Call):
            yield from _call(node, constants)
        elif isinstance(node, nodes.Name) and node.name in HANDLES and node.ctx == "load":
            yield "template-handle", f"uses the global {node.name!r}, by which known escapes from the sandbox begin"
    for inclusion in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        yield "template-handle", f"loads another template ({type(inclusion).__name__.lower()}), which a chat template has no need of"
    for text in tree.find_all(nodes.TemplateData):
        if re.search(r"<script\b", text.data, re.IGNORECASE):
            yield "template-handle", "writes a <script> element into the conversation"


def _by_name(name: str) -> Iterator[tuple[str, str]]:
    if name.startswith("__") or name in WALKS:
        yield "template-escape", f"reaches for the attribute {name!r}, which leads out of the sandbox"


def _subscript(key: nodes.Expr, constants: dict[str, Any]) -> Iterator[tuple[str, str]]:
    value = fold(key, constants)
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            yield from _by_name(each)
    if value is UNKNOWN and _is_computed(key):
        yield "template-computed", "looks an attribute up by a name that it puts together"


def _is_computed(key: nodes.Expr) -> bool:
    kinds = (nodes.Concat, nodes.Mod, nodes.Filter)
    return isinstance(key, kinds) or next(key.find_all((*kinds, nodes.Slice)), None) is not None


def _filter(node: nodes.Filter, constants: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if node.name not in BY_ATTRIBUTE:
        return
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    values = [fold(each, constants) for each in given]
    for value in values:
        if isinstance(value, str):
            for part in value.split("."):
                yield from _by_name(part)
    if node.name == "attr" and not all(isinstance(value, str) for value in values):
        yield "template-computed", "looks an attribute up by a name that it puts together"
    if node.name == "map" and values and values[0] == "attr":
        yield "template-computed", "maps the filter attr over values"


def _call(node: nodes.Call, constants: dict[str, Any]) -> Iterator[tuple[str, str]]:
    called = node.node
    name = called.name if isinstance(called, nodes.Name) else called.attr if isinstance(called, nodes.Getattr) else ""
    times = max((value for each in node.args if isinstance(value := fold(each, constants), int)), default=0)
    if name == "range" and times > MOST_TURNS:
        yield "template-computed", f"loops {times:,} times"
    if name in RUNNERS:
        yield "template-escape", f"calls {name!r}"
    if name in ("format", "format_map") and isinstance(called, nodes.Getattr):
        text = fold(called.node, constants)
        if not isinstance(text, str) or re.search(r"\{[^}]*[.\[][^}]*_", text):
            yield "template-computed", "formats a text whose fields can look attributes up"
