"""A document of JSON or YAML in one pass: values judged as they come, and a tree of them for what needs more than one."""

from collections.abc import Iterable, Iterator
from typing import Any

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, Severity, finding
from rootstock.sentinel.judge import keras, names, notebooks, paths, symbols, templates, tokenizers, values
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.parse.json_events import Event
from rootstock.sentinel.source import Source, of_bytes

BULK = 4096
"""Plain values that a list or object keeps in the tree; a vocabulary's others are judged and let go."""
MAX_NODES = 400_000
TABLES = (("model", "vocab"), ("model", "merges"))
"""Of a tokenizer: up to a million words, which are no settings."""


def judge(stream: Iterable[Event], source: Source, context: Context) -> Iterator[Finding]:
    """Findings on a document, or on several in a row."""
    tree, vocabulary = Tree(), tokenizers.Vocabulary(source)
    for event in stream:
        if event.twice:
            what = f"the key {_dotted(event.path)} occurs twice: readers differ in which one counts"
            yield finding("duplicate-key", source, what, offset=event.offset)
        if event.path[:2] in TABLES or vocabulary.is_entry(event):
            vocabulary.see(event)
        elif event.kind != "end":
            yield from values.judge(event.path, event.value, source, offset=event.offset)
            if event.kind == "value" and isinstance(event.value, str) and (inside := values.packed_pickle(event.value)):
                yield from context.nested(of_bytes(inside, path=source.path, members=(*source.members, f"base64 of {_dotted(event.path)}")))
            if event.kind == "value" and isinstance(event.value, str) and templates.is_template(event.value):
                yield from templates.judge(event.value, source, where=f"the template {_dotted(event.path)}", offset=event.offset)
        tree.see(event)
        if not event.path and event.kind == "end":
            yield from _as_a_whole(tree, source, context)
            tree = Tree()
    yield from vocabulary.findings()


def _as_a_whole(tree: "Tree", source: Source, context: Context) -> Iterator[Finding]:
    context.check_time()
    yield from keras.judge(tree.root, source, context)
    yield from tokenizers.judge(tree.root, source)
    yield from notebooks.judge(tree.root, source)
    yield from symbols.judge(tree.root, source)
    yield from _modules(tree.root, source)
    if tree.nodes > MAX_NODES and tree.telling:
        what = f"{tree.telling!r} in more than {MAX_NODES:,} values; those beyond were judged one by one, not together"
        yield finding("limit-reached", source, what)


def _modules(root: Any, source: Source) -> Iterator[Finding]:
    """modules.json of sentence-transformers, model_index.json of diffusers: lists and pairs that name classes."""
    for item in root if isinstance(root, list) else []:
        if isinstance(item, dict) and isinstance(item.get("type"), str) and {"path", "idx"} & set(item) and "." in item["type"]:
            severity = names.judge(item["type"])
            package = item["type"].split(".")[0]
            level: Severity = severity if severity != "note" or package == "sentence_transformers" else "suspicious"
            if level != "note":
                yield finding("config-target", source, f"a module has the type {item['type']!r}, which a loader imports", severity=level)
            if isinstance(item.get("path"), str) and (why := paths.escapes(item["path"])):
                yield finding("config-path", source, f"a module lies at {item['path'][:120]!r}, which {why}")
    if isinstance(root, dict) and isinstance(root.get("_class_name"), list | str):
        yield from _pipeline(root, source)
    if isinstance(root, dict) and isinstance(root.get("types"), dict) and isinstance(root.get("structure"), dict):
        yield from _router(root["types"], source)


def _router(types: dict[str, Any], source: Source) -> Iterator[Finding]:
    """Classes of the modules between which sentence-transformers' Router chooses."""
    for name, kind in types.items():
        if isinstance(kind, str) and "." in kind and names.reads_as_name(kind) and not kind.startswith("sentence_transformers."):
            severity = names.judge(kind)
            what = f"the module {name[:80]!r} has the type {kind[:120]!r}, which a loader imports"
            yield finding("config-target", source, what, severity="suspicious" if severity == "note" else severity)


def _pipeline(root: dict[str, Any], source: Source) -> Iterator[Finding]:
    """A pipeline of diffusers. Its parts, configs of their own, have a version as well, and a class that is a text."""
    if isinstance(root["_class_name"], list):
        yield finding("config-remote-code", source, f"the pipeline's class is the repository's own: {root['_class_name']!r}")
    for part, pair in root.items() if "_diffusers_version" in root or source.name == "model_index.json" else ():
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            known = pair[0] in names.LIBRARIES or pair[0] in _PIPELINE_PARTS
            if not known:
                yield finding(
                    "config-remote-code", source, f"the part {part!r} is of {pair[0]!r}, which is no library but a file of the repository"
                )


_PIPELINE_PARTS = words(
    "stable_diffusion onnxruntime.modeling_utils optimum.onnxruntime paint_by_example kandinsky kandinsky2_2 latent_diffusion"
    " deepfloyd_if pag animatediff wuerstchen shap_e unclip versatile_diffusion alt_diffusion blip_diffusion audioldm audioldm2"
    " stable_cascade stable_diffusion_xl stable_diffusion_3 flux k_diffusion null"
)


TELLING = words("class_name cells nodes __class__ added_tokens normalizer _class_name type")
"""Keys of documents that have to be judged as a whole."""


def _dotted(path: tuple[str | int, ...]) -> str:
    return repr(".".join(str(part)[:40] for part in path[-6:]) or "(root)")


class Tree:
    """What events build, without the many plain values of a bulk table."""

    def __init__(self) -> None:
        self.root: Any = None
        self.nodes = 0
        self.telling = ""
        self._stack: list[Any] = []

    def see(self, event: Event) -> None:
        """Take the next event in."""
        path = event.path
        if path[:2] in TABLES and (len(path) > 3 or path[1] == "merges" or (len(path) == 3 and event.kind != "value")):
            return
        if event.kind == "end":
            self._stack.pop()
            return
        self.nodes += 1
        value: Any = ({} if event.value == "{" else []) if event.kind == "start" else event.value
        if not self._stack:
            self.root = value
        elif self.nodes <= MAX_NODES and (event.kind == "start" or len(self._stack[-1]) < BULK):
            self._add(self._stack[-1], path[-1], value)
        elif path[-1] in TELLING:
            self.telling = str(path[-1])
        if event.kind == "start":
            self._stack.append(value)

    def _add(self, parent: Any, key: str | int, value: Any) -> None:
        if isinstance(parent, dict):
            parent[str(key)] = value
        else:
            parent.append(value)
