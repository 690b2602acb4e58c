"""Text out of markup: Markdown, and web pages (HTML) by trafilatura, alone in a file or as responses of a crawl (WARC).

trafilatura keeps the main text of a page and leaves out menus, footers and advertisements. Of a crawl the pages count: good responses
(status 2xx), conversions and resources that are HTML or plain text; the others (a revisit too, which holds no page) are broken records
whose reason names their type or status, so that the record of a build shows what a crawl consisted of. A file that was cut short gives all
that came before the cut and one broken record.
"""

import codecs
import html
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from email.message import Message
from functools import cache, partial
from http.client import HTTPException, parse_headers
from pathlib import Path
from typing import Any

from rootstock.core.errors import DataError
from rootstock.core.modules import needed
from rootstock.corpus.texts import Broken, Fields, Stream, Unit, broken, plain

PAGE = 16 * 2**20
"""Bytes of the largest page; parsing takes some twenty times as much memory."""
_HTML = ("text/html", "application/xhtml+xml")
_BARE = ("conversion", "resource")
"""Records that hold a page as it is: what was made of one (the WET files of Common Crawl), and what came by another way than HTTP."""
_ABOUT = ("warcinfo", "request", "metadata")
"""Records that tell of others, and hold no page."""
_DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_WIDER = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
"""Pages that declare the one are written in the other, and browsers read them so (encoding.spec.whatwg.org)."""
_NOT_FOR_PAGES = ("undefined", "idna", "punycode", "unicode-escape", "raw-unicode-escape")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n.*?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
_LISTS = ("bullet_list_open", "ordered_list_open")
_GAPS = dict.fromkeys(("tr_open", *_LISTS), "\n") | {"td_close": "\t", "th_close": "\t", "tr_close": ""}
"""What a token of Markdown puts before the text that follows it; otherwise a blank line stands there."""


def markdown(data: bytes) -> str:
    """The text of Markdown: front matter, heading and emphasis marks, link targets and HTML tags go; letters, code, alternative texts of
    images, list markers and line ends stay. Cells of a table stand between tabs."""
    blocks: list[str] = []
    marker = gap = ""
    for token in _markdown_parser().parse(_FRONT_MATTER.sub("", plain(data), count=1)):
        if token.type == "list_item_open":
            marker = f"{token.info}{token.markup} " if token.info else "- "
        elif token.type == "paragraph_open":
            gap = (gap or "\n") if token.hidden else ""  # hidden: in a list without blank lines between its items
        elif token.type in _GAPS:
            gap = _GAPS[token.type] if token.level or token.type not in _LISTS else "\n\n"
        elif text := _text(token):
            blocks += [(gap or "\n\n") if blocks else "", marker, text]
            marker = gap = ""
    return "".join(blocks)


@cache
def _markdown_parser() -> Any:
    return needed("markdown_it", "reading this source").MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _text(token: Any) -> str:
    if token.type == "inline":
        return _inline(token.children)
    if token.type == "html_block":
        return html.unescape(_TAG.sub("", token.content)).strip()
    return str(token.content).rstrip("\n") if token.type in ("fence", "code_block") else ""


def _inline(tokens: Sequence[Any]) -> str:
    breaks = ("softbreak", "hardbreak")
    kept = ("text", "text_special", "code_inline", "image")
    return "".join("\n" if each.type in breaks else each.content for each in tokens if each.type in (*kept, *breaks))


def pages(path: Path, fields: Fields) -> Iterator[Unit]:
    """One page a file."""
    stream = Stream(path)
    with stream.buffered() as buffer:
        data = buffer.read(PAGE + 1)
    if stream.damage:
        yield broken("", Broken(stream.damage, data))
    elif data:
        yield Unit("", partial(page_text, data))


def page_text(data: bytes, charset: str = "") -> str:
    """The main text of a page; charset: what its server said. Broken where there is none."""
    if len(data) > PAGE:
        raise Broken(f"too long: a page of more than {PAGE // 2**20} MB", data[:2000])
    source = _source(data, charset)
    text = _trafilatura().extract(source, include_comments=False, deduplicate=False)
    if not text:
        raise Broken("no text in the page", data[:2000])
    return str(text)


@cache
def _trafilatura() -> Any:
    logging.getLogger("trafilatura").addHandler(logging.NullHandler())  # it reports each page without text on stderr
    return needed("trafilatura", "reading this source")


def _source(data: bytes, charset: str) -> str:
    """A page's letters: UTF-8 where they are valid in it, as declarations are often wrong; else in the encoding that it declares."""
    declared = _codec(charset) or _codec(_meta(data))
    if declared.startswith(("iso2022", "hz")):  # seven bits: valid UTF-8 too
        return data.decode(declared, "replace")
    try:
        return plain(data)
    except Broken:
        if declared in ("", "utf-8"):
            raise
        return data.decode(declared, "replace")


def _meta(data: bytes) -> str:
    found = _DECLARED.search(data[:4096])
    return found[1].decode("ascii", "ignore") if found else ""


def _codec(name: str) -> str:
    """Python's name of an encoding for text, or "" for one that it does not know."""
    try:
        b"a".decode(name or "?", "replace")
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""
    return "" if codec in _NOT_FOR_PAGES else _WIDER.get(codec, codec)


def warc(path: Path, fields: Fields) -> Iterator[Unit]:
    """The pages of a crawl, under the number of their record and their address. Raises DataError for a file that is no WARC."""
    stream = Stream(path, text=False)
    archive = needed("warcio.archiveiterator", "reading this source")
    records = archive.WARCIterator(stream.buffered(), no_record_parse=True, check_digests=False)
    number = 0
    while True:
        number += 1
        try:
            record = _following(records)
        except archive.ArchiveLoadFailed as error:
            if number == 1:
                raise DataError(f"{path} is no WARC file", wanted="a record that begins with WARC/1.0", fix="fetch it again") from None
            yield broken(f":{number}", Broken(stream.damage or f"damaged: the rest of the file is left out: {error}"))
            return
        if record is None:
            break
        block = record.raw_stream.read(PAGE + 1)
        missing = _missing(record)
        if missing:
            yield broken(f":{number}", Broken(stream.damage or missing, block[:2000]))
            return
        if record.rec_type not in _ABOUT:
            address = record.rec_headers.get_header("WARC-Target-URI") or ""
            yield Unit(f":{number} {address}".rstrip(), _maker(record, block))
    if stream.damage:
        yield broken(f":{number}", Broken(stream.damage))


def _maker(record: Any, block: bytes) -> "partial[str]":
    """What makes the text of a record. A page that was kept without its server's answer says in the record's header what it is."""
    if record.rec_type == "response":
        return partial(response_text, block)
    if record.rec_type in _BARE:
        header = Message()
        header["content-type"] = record.rec_headers.get_header("Content-Type") or "none/none"  # without one it would be plain text
        return partial(bare_text, block, header.get_content_type(), header.get_content_charset() or "")
    return broken("", Broken(f"record of kind {record.rec_type}", block)).make


def _following(records: Any) -> Any:
    with redirect_stderr(io.StringIO()):  # warcio warns there of what comes up as a broken record anyway
        return next(records, None)


def _missing(record: Any) -> str:
    """What a record lacks at its end, or ""; the rest of it is read."""
    if not (record.rec_headers.get_header("Content-Length") or "").strip().isdigit():
        return "cut off: the header of a record"
    while record.raw_stream.read(2**16):
        pass
    lost = record.raw_stream.limit
    return f"cut off: {lost:,} bytes of a record are not there" if lost else ""


def bare_text(block: bytes, kind: str, charset: str) -> str:
    """The text of a page without headers of its own. Broken where it is neither HTML nor plain text."""
    if len(block) > PAGE:
        raise Broken(f"too long: a page of more than {PAGE // 2**20} MB", block)
    return _by_kind(kind, lambda: block, charset, shown=block)


def _by_kind(kind: str, body: Callable[[], bytes], charset: str, *, shown: bytes) -> str:
    """The text of a body by its content type. Broken where that is neither HTML nor plain text; shown: what is said of it then."""
    if kind not in (*_HTML, "text/plain"):
        raise Broken(f"content type {kind}", shown)
    data = body().removeprefix(codecs.BOM_UTF8)
    return page_text(data, charset) if kind in _HTML else _source(data, charset)


def response_text(block: bytes) -> str:
    """The text of an HTTP response. Broken where it is an error, or neither HTML nor plain text."""
    if len(block) > PAGE:
        raise Broken(f"too long: a response of more than {PAGE // 2**20} MB", block)
    stream = io.BytesIO(block)
    status = stream.readline().split()
    try:
        headers = parse_headers(stream)
    except HTTPException as error:
        raise Broken(f"no HTTP header: {error}", block) from None
    if len(status) < 2 or not status[0].startswith(b"HTTP/"):
        raise Broken("no HTTP response", block)
    if not status[1].startswith(b"2"):
        raise Broken(f"status {status[1].decode('ascii', 'replace')}", block)
    kind = headers.get_content_type() if "content-type" in headers else "none"
    charset = headers.get_content_charset() or ""
    return _by_kind(kind, lambda: _body(stream, headers), charset, shown=block)


def _body(stream: io.BytesIO, headers: Message) -> bytes:
    """What the headers wrap: chunks joined, content unpacked."""
    readers = needed("warcio.bufferedreaders", "reading this source")
    packing = str(headers.get("content-encoding", "")).strip().lower().removeprefix("x-").replace("identity", "")
    if packing and packing not in readers.BufferedReader.get_supported_decompressors():
        raise Broken(f"content encoding {packing}", stream.getvalue()[:2000])
    chunked = "chunked" in str(headers.get("transfer-encoding", "")).lower()
    reader = readers.ChunkedDataReader if chunked else readers.BufferedReader
    with redirect_stderr(io.StringIO()) as said:
        body: bytes = reader(stream, decomp_type=packing or None).read(PAGE + 1)
    if said.getvalue():  # its only sign that unpacking failed
        raise Broken(f"damaged: {said.getvalue().strip()}", stream.getvalue()[:2000])
    return body
