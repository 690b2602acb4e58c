"""Texts within binary formats: metadata, attributes, string tables. What a loader would parse, render or run is judged as such."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.judge import shell, templates, values
from rootstock.sentinel.source import Source, of_bytes

MAX_CHARACTERS = 32 << 20
_JSON = re.compile(r"\s*[\[{]")
_YAML = re.compile(r"^\s*(?:- )?_target_\s*:|!!python/", re.MULTILINE)


def judge(key: str, text: str, source: Source, context: Context, *, offset: int | None = None) -> Iterator[Finding]:
    """Findings on a text under a key: as JSON or YAML where it is one, as a template, as a value, as code."""
    if len(text) > MAX_CHARACTERS:
        raise LimitReached(f"the text of {key!r} has {len(text):,} characters and was not scanned", offset=offset)
    inside = of_bytes(text.encode("utf-8", "replace"), path=source.path, members=(*source.members, key[:80]))
    if templates.is_template(text) and not _looks_json(text):
        yield from templates.judge(text, source, where=f"the template {key[:80]!r}", offset=offset)
    elif _JSON.match(text):
        yield from _document(key, text, source, context, inside)
        return
    elif _YAML.search(text):
        yield from context.nested(inside)
        return
    if packed := values.packed_pickle(text):
        yield from context.nested(of_bytes(packed, path=source.path, members=(*inside.members, "base64")))
    yield from values.judge((key,), text, source, offset=offset)


def _looks_json(text: str) -> bool:
    return bool(re.match(r'\s*(?:\{\s*(?:"|\})|\[\s*[\["{\d])', text))


def _document(key: str, text: str, source: Source, context: Context, inside: Source) -> Iterator[Finding]:
    from rootstock.sentinel.judge.documents import judge as judge_document
    from rootstock.sentinel.parse.json_events import events

    found: list[Finding] = []
    try:
        for each in judge_document(events(inside, context), inside, context):
            found.append(each)
    except Malformed:
        yield from values.judge((key,), text, source)
    yield from found


def code_in(source: Source, context: Context, what: str, *, limit: int = 10) -> Iterator[Finding]:
    """Calls, commands and native libraries anywhere in the bytes of a format that has no reader of its own."""
    count, carry, base = 0, b"", 0
    for chunk in source.chunks():
        context.check_time()
        block = carry + chunk
        for find, rule, noun in ((shell.codes, "code-in-text", "code"), (shell.libraries, "native-library", "the native library")):
            for start, end in find(block):
                if end <= len(carry):
                    continue  # told with the chunk before
                count += 1
                if count > limit:
                    return
                text = block[start : start + 80].split(b"\0")[0].decode("utf-8", "replace")
                yield finding(rule, source, f"{what} holds {noun}: {text!r}", offset=base - len(carry) + start)
        base += len(chunk)
        carry = block[-300:]
