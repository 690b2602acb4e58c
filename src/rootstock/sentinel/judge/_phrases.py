"""Where a chat template tests what the user wrote, or the date, for words, and so can speak differently when they appear."""

import re
from collections.abc import Iterator
from typing import Any

from jinja2 import nodes

from rootstock.sentinel.judge._folding import UNKNOWN, fold
from rootstock.sentinel.judge.words import words

CONTENT = words("content text reasoning_content query prompt user_input")
"""Keys under which a conversation holds what somebody wrote."""

LABELS = words("role type name id tool_call_id")
"""Keys of a conversation that hold one of a few labels, so that comparing them is no test of the words."""

STRUCTURE = words(
    "text image image_url images video video_url videos audio audio_url input_audio type content tool_calls tool_call_id function"
    " name arguments role json thinking think reasoning reasoning_content url path base64 file document documents parts citations"
    " tool_plan functions parameters properties description required result results response output id data user system assistant"
    " tool developer message messages chunk"
)
"""Keys of the parts of a message: `'image' in content` asks for the kind of a part."""

_TAG = re.compile(
    r"\s*(?:(?:<\|\w+\|>\w{0,20})+|"
    r"</?[|a-zA-Z_][\w|:. -]{0,40}[|]?/?>?|<\|?/?|\|?>|\[/?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|"
    r"AVAILABLE_TOOLS|IMG|IMG_BREAK|AUDIO|ARGS|CALL_ID|TRANSCRIBE)\]|/(?:no_?)?think(?:ing)?|/system_override|<<?/?SYS>?>|`{3}\w*|\W*)\s*\Z"
)
"""Marks of a conversation's form, not words: tags, <|turns|>, [INST], /think, fences."""

TESTS = words("startswith endswith find index rfind count split rsplit partition rpartition replace removeprefix removesuffix")
FILTERS = words("replace select reject regex_search regex_replace")


class Phrases:
    """One template. Follows what somebody wrote, and the date, through assignments and loops."""

    def __init__(self, tree: nodes.Template) -> None:
        self.tree = tree
        self.constants: dict[str, Any] = {}
        self.written: set[str] = set()
        self.dated: set[str] = set()
        for _ in range(4):
            self._follow()

    def findings(self) -> Iterator[tuple[str, str]]:
        """Rule and what, for every test."""
        for compare in self.tree.find_all(nodes.Compare):
            yield from self._compare(compare)
        for call in self.tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Getattr) and call.node.attr in TESTS:
                yield from self._test(call.node.node, call.args, call.node.attr)
        for each in self.tree.find_all((nodes.Filter, nodes.Test)):
            if each.node is not None and (each.name in FILTERS or each.name in ("in", "eq", "equalto", "==", "sameas")):
                yield from self._test(each.node, each.args, each.name)
        yield from self._lookups()

    def _lookups(self) -> Iterator[tuple[str, str]]:
        for item in self.tree.find_all(nodes.Getitem):
            if isinstance(item.node, nodes.Dict) and self._is_written(item.arg):
                yield "template-phrase", "looks up what to say by what the user wrote"
        for call in self.tree.find_all(nodes.Call):
            got = isinstance(call.node, nodes.Getattr) and call.node.attr == "get" and isinstance(call.node.node, nodes.Dict)
            if got and any(self._is_written(each) for each in call.args):
                yield "template-phrase", "looks up what to say by what the user wrote"
        for chosen in self.tree.find_all(nodes.Filter):
            if chosen.name in ("selectattr", "rejectattr") and chosen.args and self._is_key(chosen.args[0]):
                for phrase in filter(None, map(self._phrase, chosen.args[1:])):
                    yield "template-phrase", f"tests what was written for {phrase[:80]!r}"

    def _is_key(self, node: nodes.Node) -> bool:
        value = fold(node, self.constants)
        return isinstance(value, str) and value in CONTENT

    def _follow(self) -> None:
        pairs: list[tuple[nodes.Node, nodes.Node]] = [(node.node, node.target) for node in self.tree.find_all(nodes.Assign)]
        pairs += [(node.iter, node.target) for node in self.tree.find_all(nodes.For)]
        macros = {macro.name: macro for macro in self.tree.find_all(nodes.Macro)}
        for call in self.tree.find_all(nodes.Call) if macros else ():
            if isinstance(call.node, nodes.Name) and call.node.name in macros:
                pairs += zip(call.args, macros[call.node.name].args, strict=False)
        for value, target in pairs:
            names = [target, *target.find_all(nodes.Name)] if isinstance(target, nodes.Name) else list(target.find_all(nodes.Name))
            for name in names:
                self._bind(name.name, value)
            if isinstance(target, nodes.NSRef):
                self._bind(f"{target.name}.{target.attr}", value)

    def _bind(self, name: str, value: nodes.Node) -> None:
        if self._is_written(value):
            self.written.add(name)
        elif self._is_date(value):
            self.dated.add(name)
        elif (constant := fold(value, self.constants)) is not UNKNOWN:
            known = self.constants.get(name)
            merged = [*_several(known), *_several(constant)]
            values = list(dict.fromkeys(str(each) for each in merged))[:256]
            self.constants[name] = values[0] if len(values) == 1 else values

    def _is_written(self, node: nodes.Node) -> bool:
        """Whether an expression carries what somebody wrote."""
        if isinstance(node, nodes.Getattr | nodes.Getitem):
            key = node.attr if isinstance(node, nodes.Getattr) else fold(node.arg, self.constants)
            if isinstance(key, str) and key in LABELS:
                return False
            space = f"{node.node.name}.{key}" if isinstance(node.node, nodes.Name) else ""
            return (isinstance(key, str) and key in CONTENT) or space in self.written or self._is_written(node.node)
        if isinstance(node, nodes.Name):
            return node.name in self.written
        if (isinstance(node, nodes.Filter) and self._is_whole(node)) or (isinstance(node, nodes.Call) and self._gets(node)):
            return True
        if isinstance(node, nodes.Compare | nodes.Test | nodes.Not) or (
            isinstance(node, nodes.Filter) and node.name in ("length", "count")
        ):
            return False
        return any(self._is_written(child) for child in node.iter_child_nodes())

    def _is_whole(self, node: nodes.Filter) -> bool:
        """Whether a filter makes one text of a conversation, or of the contents of its messages."""
        if node.name == "attr" and node.args:
            return self._is_key(node.args[0])
        by_key = node.name == "map" and any(self._is_key(pair.value) for pair in node.kwargs)
        whole = node.name in ("string", "tojson") and isinstance(node.node, nodes.Name) and node.node.name not in self.constants
        return by_key or whole

    def _gets(self, node: nodes.Call) -> bool:
        """Whether a call is message.get('content')."""
        got = isinstance(node.node, nodes.Getattr) and node.node.attr in ("get", "pop") and bool(node.args)
        return got and self._is_key(node.args[0])

    def _is_date(self, node: nodes.Node) -> bool:
        names = [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))
        return any(name.name in ("strftime_now", "now", "datetime") or name.name in self.dated for name in names)

    def _phrase(self, node: nodes.Node) -> str:
        """The words that an expression stands for, empty where it is no constant or only marks of form."""
        value = fold(node, self.constants)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and re.search(r"[^\W\d_]", each) and not _TAG.match(each) and each.strip() not in STRUCTURE:
                return each
        return ""

    def _compare(self, compare: nodes.Compare) -> Iterator[tuple[str, str]]:
        sides = [compare.expr, *(operand.expr for operand in compare.ops)]
        phrase = next((words for side in sides if (words := self._phrase(side))), "")
        if phrase and any(self._is_written(side) for side in sides):
            yield "template-phrase", f"tests what was written for {phrase[:80]!r}"
        operators = {operand.op for operand in compare.ops}
        constant = any(fold(side, self.constants) not in (UNKNOWN, None, "") for side in sides)
        if constant and operators & {"eq", "ne", "lt", "lteq", "gt", "gteq", "in", "notin"} and any(self._is_date(side) for side in sides):
            yield "template-phrase", "speaks differently from a date on"

    def _test(self, subject: nodes.Node, arguments: list[nodes.Expr], name: str) -> Iterator[tuple[str, str]]:
        phrase = next((words for each in arguments if (words := self._phrase(each))), "")
        if phrase and self._is_written(subject):
            verb = "rewrites" if "replace" in name else "tests what was written for"
            yield "template-phrase", f"{verb} {phrase[:80]!r}"
        elif self._is_date(subject) and phrase:
            yield "template-phrase", "speaks differently from a date on"


def _several(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
