"""XML: OpenVINO graphs and PMML. Entities are refused before the parser could expand one."""

import re
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.judge import paths, shell
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Probe, Source

MAX_DEPTH = 512
CHUNK = 1 << 20
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\b|!DOCTYPE|!--|[A-Za-z_][\w:.-]*[\s>/])", re.IGNORECASE)
_DECLARED = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\b|!DOCTYPE)", re.IGNORECASE)
NAMES = (".xml", ".pmml", ".rdf", ".owl", ".xsd", ".xsl")
_WIDE = (b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0?\0", b"\0<\0?")
SCRIPTED = words("extension extensions custom customlayer script pyfunc")
OPENED = words("library lib plugin so_path path file kernel extension_lib")
OPSETS = re.compile(r"opset\d+\Z")
PYTHON = frozenset(("pythonop", "pyfunc", "customop", "custom", "python"))


def recognises(probe: Probe) -> bool:
    """By its declaration; by a first element where the name says so, or where one is closed at the end: `<unk>` begins vocabularies too."""
    if probe.name.endswith((".html", ".htm", ".md", ".svg", ".xhtml")):
        return False
    if _DECLARED.match(probe.head) or probe.head[:4] in _WIDE:
        return True
    end = probe.tail.rstrip()
    closed = end.endswith((b"-->", b"?>")) or (end.endswith(b">") and (b"</" in end or b"/>" in end))  # a comment may be longer than a tail
    return bool(_START.match(probe.head)) and (closed or probe.name.endswith(NAMES))


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """Declarations, elements, attributes and texts in turn."""
    handler = _Handler(source)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = handler.doctype
    parser.EntityDeclHandler = handler.entity
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.ProcessingInstructionHandler = handler.instruction
    handler.parser = parser
    parser.buffer_text = True
    try:
        for chunk in source.chunks(CHUNK):
            context.check_time()
            parser.Parse(chunk, False)
            yield from handler.drain()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        yield from handler.drain()
        raise Malformed(f"it is no XML: {error}", offset=max(0, parser.ErrorByteIndex)) from error
    except _Refused:
        yield from handler.drain()
        return
    except LimitReached:
        yield from handler.drain()
        raise
    yield from handler.drain()


class _Refused(Exception):
    """The document declares entities: it is not read further."""


class _Handler:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Finding] = []
        self.stack: list[str] = []
        self.openvino = False
        self.parser: Any = None

    def drain(self) -> Iterator[Finding]:
        yield from self.found
        self.found.clear()

    def add(self, rule: str, what: str) -> None:
        self.found.append(finding(rule, self.source, what, offset=max(0, self.parser.CurrentByteIndex)))

    def doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        if system or internal:
            self.add("xml-entity", f"a document type of its own ({name[:40]!r}{f', at {system[:80]!r}' if system else ''})")

    def entity(self, name: str, _parameter: int, value: str | None, _base: str | None, system: str | None, *_rest: Any) -> None:
        target = f"stands for {system[:120]!r}" if system else f"stands for {len(value or '')} characters"
        self.add("xml-entity", f"declares the entity {name[:40]!r}, which {target}; the document was not read further")
        raise _Refused

    def instruction(self, target: str, data: str) -> None:
        if target.lower() in ("xml-stylesheet", "php", "python"):
            self.add("xml-script", f"an instruction to another program: {target} {data[:80]!r}")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise LimitReached(
                f"elements more than {MAX_DEPTH} deep in one another", rule_id="nesting", offset=self.parser.CurrentByteIndex
            )
        bare = name.rsplit(":", 1)[-1].lower()
        self.openvino = self.openvino or (not self.stack and bare == "net" and "version" in attributes)
        self.stack.append(bare)
        if self.openvino and bare == "layer":
            self._layer(attributes)
        for key, value in attributes.items():
            self._attribute(bare, key, value)

    def end(self, name: str) -> None:
        self.stack.pop()

    def _layer(self, attributes: dict[str, str]) -> None:
        kind, version = attributes.get("type", ""), attributes.get("version", "")
        if kind.lower() in PYTHON:
            self.add("openvino-extension", f"the layer {attributes.get('name', '')[:80]!r} is of type {kind[:80]!r}, which runs Python")
        elif version and not OPSETS.match(version):
            self.add(
                "openvino-extension",
                f"the layer {attributes.get('name', '')[:80]!r} comes from {version[:80]!r}, no operator set of OpenVINO",
            )

    def _attribute(self, element: str, key: str, value: str) -> None:
        bare = key.rsplit(":", 1)[-1].lower()
        if library := shell.first_library(value):
            self.add("native-library", f"{element} {key!r} names the native library {library!r}")
        elif bare in OPENED and "xmlns" not in key and (why := paths.escapes(value)):
            self.add("config-path", f"{element} {key!r} is {value[:120]!r}, which {why}")
        if code := shell.first_code(value):
            self.add("code-in-text", f"{element} {key!r} is code: {code!r}")
        if element == "xinclude" or (element == "include" and bare == "href"):
            self.add("xml-entity", f"includes {value[:120]!r}")

    def text(self, data: str) -> None:
        if code := shell.first_code(data):
            rule = "xml-script" if set(self.stack) & SCRIPTED else "code-in-text"
            self.add(rule, f"{self.stack[-1] if self.stack else 'text'} holds code: {code!r}")
