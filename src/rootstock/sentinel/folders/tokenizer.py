"""Files of one tokenizer against each other: the same token must have the same id in all of them."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, Malformed, finding
from rootstock.sentinel.source import Source, Tree

CONFIG = "tokenizer_config.json"
MAX_BYTES = 64 << 20
MAX_TOKENS = 1_000_000


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """tokenizer.json against vocab.txt, vocab.json and added_tokens.json beside it."""
    present = frozenset(tree.names)
    for name in tree.names:
        if PurePosixPath(name).name == "tokenizer.json":
            folder = PurePosixPath(name).parent
            beside = [
                str(folder / other) for other in ("vocab.txt", "vocab.json", "added_tokens.json", CONFIG) if str(folder / other) in present
            ]
            if beside:
                yield from _compare(name, beside, tree, context)


def _compare(name: str, beside: list[str], tree: Tree, context: Context) -> Iterator[Finding]:
    main = _open(tree, name)
    if main is None:
        return
    try:
        known, added = _main(main, context)
    except Malformed:
        return  # told by the reader of JSON
    for other in beside:
        source = _open(tree, other)
        if source is None:
            continue
        try:
            read = _lines if other.endswith(".txt") else _decoder if other.endswith(CONFIG) else _table
            listed = read(source, context)
        except Malformed:
            continue
        wanted = {**known, **added} if other.endswith(("added_tokens.json", CONFIG)) else known
        wrong = [(token, number) for token, number in listed.items() if token in wanted and wanted[token] != number]
        if wrong:
            examples = "; ".join(f"{token[:40]!r} is {number} here and {wanted[token]} there" for token, number in wrong[:3])
            yield finding(
                "tokenizer-swapped", source, f"{len(wrong):,} tokens have other ids than in {PurePosixPath(name).name}: {examples}"
            )


def _open(tree: Tree, name: str) -> Source | None:
    try:
        source = tree.open(name)
    except (KeyError, OSError):
        return None
    if source.size > MAX_BYTES:
        raise LimitReached(f"{name} has {source.size:,} bytes and was not compared with the tokenizer's other files")
    return source


def _main(source: Source, context: Context) -> tuple[dict[str, int], dict[str, int]]:
    from rootstock.sentinel.parse.json_events import events

    known: dict[str, int] = {}
    added: dict[str, int] = {}
    content, number = "", -1
    for event in events(source, context):
        path = event.path
        if path[:2] == ("model", "vocab") and len(path) == 3 and type(event.value) is int and len(known) < MAX_TOKENS:
            known[str(path[2])] = event.value
        elif path[:1] == ("added_tokens",) and len(path) == 3:
            content = event.value if path[2] == "content" else content
            number = event.value if path[2] == "id" else number
        elif event.kind == "end" and path[:1] == ("added_tokens",) and len(path) == 2 and isinstance(content, str):
            added[content] = number
    return known, added


def _table(source: Source, context: Context) -> dict[str, int]:
    from rootstock.sentinel.parse.json_events import events

    return {str(e.path[0]): e.value for e in events(source, context) if len(e.path) == 1 and type(e.value) is int}


def _decoder(source: Source, context: Context) -> dict[str, int]:
    from rootstock.sentinel.parse.json_events import events

    return {
        str(e.value): int(str(e.path[1]))
        for e in events(source, context)
        if len(e.path) == 3 and (e.path[0], e.path[2]) == ("added_tokens_decoder", "content") and str(e.path[1]).isdecimal()
    }


def _lines(source: Source, context: Context) -> dict[str, int]:
    context.check_time()
    text = source.read(0, source.size).decode("utf-8", "replace")
    return {line.rstrip("\r"): number for number, line in enumerate(text.split("\n")) if line}
