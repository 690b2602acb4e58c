"""Every format, packed or not, against what was written into it; every kind of damage against the record that it must become."""

import bz2
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tests.conftest import examples

from rootstock.core.errors import DataError, UsageError
from rootstock.core.watch import Watch
from rootstock.corpus import build, texts, warc
from rootstock.corpus.pipeline import CorpusSettings
from rootstock.corpus.sources import check_unchanged, describe, records

TEXTS = ["A first text, with a comma.", "Zwei Zeilen:\nüber ‘alles’ 🌱", 'He said "no".', "", "last"]
PACK = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def as_jsonl(values):
    return "".join(json.dumps({"id": i, "text": value}, ensure_ascii=i % 2 == 0) + "\n" for i, value in enumerate(values)).encode()


def as_csv(values, mark=","):
    rows = [["n", "text"], *([str(i), value] for i, value in enumerate(values))]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows).encode()


def as_parquet(values):
    sink = io.BytesIO()
    parquet.write_table(pa.table({"n": range(len(values)), "text": pa.array(values, pa.string())}), sink, row_group_size=2)
    return sink.getvalue()


def as_arrow(values, *, stream=False):
    table = pa.table({"n": range(len(values)), "text": pa.array(values, pa.large_string())})
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


WRITE = {
    "a.jsonl": as_jsonl,
    "a.ndjson": as_jsonl,
    "a.csv": as_csv,
    "a.tsv": lambda values: as_csv(values, "\t"),
    "a.parquet": as_parquet,
    "a.arrow": as_arrow,
    "a.feather": lambda values: as_arrow(values, stream=True),
}


def good(reference, *more, **options):
    found = list(records(str(reference), *more, **options))
    assert [each.broken for each in found] == [None] * len(found)
    return [each.text for each in found]


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def told(reference, *more, **options):
    """Text, or the reason's rule, of each record."""
    return [each.text if each.broken is None else (each.broken.partition(":")[0],) for each in records(str(reference), *more, **options)]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", WRITE)
def test_tables_give_what_was_written(tmp_path, name, packing):
    path = put(tmp_path / f"{name}{packing}", PACK[packing](WRITE[name](TEXTS)))
    assert good(path) == TEXTS
    assert [each.place for each in records(str(path))] == list(range(5))
    for start in range(7):
        assert list(records(str(path), start=start)) == list(records(str(path)))[start:]


@pytest.mark.parametrize("packing", PACK)
def test_the_packing_is_known_by_the_bytes_not_the_name(tmp_path, packing):
    path = put(tmp_path / "a.txt", PACK[packing]("übrigens\n".encode()))
    assert good(path) == ["übrigens\n"]


def test_members_one_after_the_other_are_one_file(tmp_path):
    for packing in (".gz", ".bz2", ".xz", ".zst"):
        path = put(tmp_path / f"a.jsonl{packing}", PACK[packing](as_jsonl(["one"])) + PACK[packing](as_jsonl(["two"])))
        assert good(path) == ["one", "two"]


def test_ids_say_where_a_text_came_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "d/b.jsonl", b'{"text": "x"}\n\n{"text": "y"}\n')
    put(tmp_path / "d/a/z.txt", b"z")
    put(tmp_path / "d/c.csv", b'text,n\n"two\nlines",1\nx,2\n')
    put(tmp_path / "d/e.parquet", as_parquet(["p", "q"]))
    expected = ["d/a/z.txt", "d/b.jsonl:1", "d/b.jsonl:3", "d/c.csv:2", "d/c.csv:4", "d/e.parquet:1", "d/e.parquet:2"]
    assert [each.id for each in records("d")] == expected == [each.id for each in records("d/")]
    assert [each.id for each in records("d/b.jsonl")] == ["d/b.jsonl:1", "d/b.jsonl:3"]


def test_the_field_is_found_by_name_or_told(tmp_path):
    path = put(tmp_path / "a.jsonl", b'{"body": "b", "title": "t"}\n{"text": null, "content": "c", "title": "u"}\n')
    assert good(path) == ["b", "c"]
    assert good(path, "title") == ["t", "u"]
    with pytest.raises(DataError, match=r"(?s)no text field.*--text"):
        describe(str(path), "titel")
    table = put(tmp_path / "a.csv", b"Titel,Content\n1,2\n")
    assert good(table) == ["2"]
    assert good(table, "titel") == ["1"]
    with pytest.raises(DataError, match=r"(?s)no column is named Titl; there are Titel, Content.*--text 'Titel'"):
        list(records(str(table), "Titl"))
    with pytest.raises(DataError, match=r"holds int64(.|\n)*--text"):
        list(records(str(put(tmp_path / "a.parquet", as_parquet(TEXTS))), "n"))


def test_a_broken_line_is_told_and_skipped(tmp_path):
    lines = [b'{"text": "a"}', b'{"text": "b', b'{"txt": "c"}', b'{"text": 4}', b"[1]", b'{"text": null}', b'{"text": "\xff"}']
    lines += [b'{"text": "\\ud83d"}', b"[" * 100_000, b'{"text": ' + b"9" * 5000 + b"}", b'{"text": "z"}']
    found = list(records(str(put(tmp_path / "a.jsonl", b"\n".join(lines)))))
    assert [each.place for each in found] == list(range(11))
    assert [each.text for each in found if each.text is not None] == ["a", "z"]
    rules = [each.broken.partition(":")[0] for each in found[1:-1]]
    assert rules == [
        "no JSON",
        "no text field",
        "no text",
        "no JSON object",
        "null",
        "not UTF-8",
        "half a surrogate pair",
        "no JSON",
        "no JSON",
    ]
    assert found[1].beginning == '{"text": "b'
    assert found[2].broken == "no text field: only 'txt'"
    assert found[6].beginning == '{"text": "\ufffd"}'
    assert all(len(each.beginning) <= 200 and each.beginning.isprintable() for each in found)


def test_a_line_without_end_is_one_broken_record(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST", 1000)
    path = put(tmp_path / "a.jsonl", as_jsonl(["a"]) + b'{"text": "' + b"x" * 5000 + b'"}\n' + as_jsonl(["b"]))
    assert told(path) == ["a", ("too long",), "b"]


def test_ragged_and_wrongly_quoted_rows(tmp_path):
    path = put(tmp_path / "a.csv", b'id,text\n1,a\n2,b,c\n3\n\n4,"d"e\n5,"f ""g"""\n')
    found = list(records(str(path)))
    assert told(path) == ["a", ("ragged row",), ("ragged row",), ("wrongly quoted row",), 'f "g"']
    assert [each.id.rsplit(":")[-1] for each in found] == ["2", "3", "4", "6", "7"]
    assert found[1].broken == "ragged row: 3 fields where the header has 2"


def test_a_quote_that_never_closes_takes_no_other_row_along(tmp_path):
    path = put(tmp_path / "a.csv", b'id,text\n1,a\n2,"b\n3,c\n4,"d"\n5,e\n')
    assert told(path) == ["a", ("wrongly quoted row",), "c", "d", "e"]
    assert [each.id.rsplit(":")[-1] for each in records(str(path))] == ["2", "3", "4", "5", "6"]
    path = put(tmp_path / "b.csv", b'id,text\n1,a\n2,"b\n3,c\n4,d\n')
    assert told(path) == ["a", ("wrongly quoted row",), "c", "d"]


def test_tsv_with_quotes_as_letters_and_long_fields(tmp_path):
    assert good(put(tmp_path / "a.tsv", b'id\ttext\n1\t"so it goes\n2\tb" c\n')) == ['"so it goes', 'b" c']
    long = "x" * 300_000
    assert good(put(tmp_path / "b.csv", as_csv([long]))) == [long]
    assert good(put(tmp_path / "c.csv", "text;n\na,b;1\n")) == ["a,b"]


def test_a_cell_that_is_not_utf8_breaks_its_row_only(tmp_path):
    path = put(tmp_path / "a.csv", b"text,other\na,\xe4\n\xe4,b\nc,d\n")
    assert told(path) == ["a", ("not UTF-8",), "c"]


def test_encodings_by_their_mark(tmp_path):
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        assert good(put(tmp_path / f"{codec}.txt", "Grüße 🌱\n".encode(codec))) == ["Grüße 🌱\n"]
        assert good(put(tmp_path / f"{codec}.jsonl", as_jsonl(TEXTS).decode().encode(codec))) == TEXTS
        assert good(put(tmp_path / f"{codec}.csv", as_csv(TEXTS).decode().encode(codec))) == TEXTS


def test_a_file_that_is_no_text_among_texts(tmp_path):
    put(tmp_path / "d/a.txt", b"a")
    put(tmp_path / "d/b.txt", b"\x7fELF\x00\x01")
    put(tmp_path / "d/c.txt", "Grüße".encode("latin-1"))
    put(tmp_path / "d/d.txt", b"")
    put(tmp_path / "d/e.txt", "Grüße".encode("utf-16-le"))
    put(tmp_path / "d/f.parquet", b"PAR1 no Parquet")
    put(tmp_path / "d/g.csv", b"x,y\n1,2\n")
    put(tmp_path / "d/h.txt", b"\xff\xfeD\x00\xff")
    put(tmp_path / "d/i.txt", b"i")
    found = list(records(str(tmp_path / "d")))
    rules = ["binary", "not UTF-8", "empty file", "binary", "unreadable file", "unreadable file", "cut off"]
    assert [each.broken and each.broken.partition(":")[0] for each in found] == [None, *rules, None]
    assert found[2].broken == "not UTF-8: byte 0xfc at offset 2"
    assert found[2].beginning == "Gr\ufffd\ufffde"
    assert [each.place for each in found] == list(range(9))


def test_other_files_of_a_folder_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.pdf", "sub/c.JSONL.GZ", "sub/.hidden.txt", ".git/config", ".git/x.txt", "noname", "x.gz"):
        put(tmp_path / "d" / name, as_jsonl(["x"]))
    (tmp_path / "d/link").symlink_to(tmp_path / "d")
    (tmp_path / "d/nowhere.txt").symlink_to(tmp_path / "gone.txt")
    facts = describe("d")
    assert [(each.name, each.format) for each in facts.files] == [("d/a.txt", "text"), ("d/sub/c.JSONL.GZ", "jsonl")]
    assert facts.skipped == 7
    assert facts.skipped_examples == ("d/.git", "d/b.pdf", "d/link")
    assert json.dumps(facts.plain())


def test_facts_change_with_names_and_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path / "a.txt", b"abc")
    first = describe("a.txt")
    assert first.files[0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert (first.format, first.files[0].bytes, first.digest) == ("text", 3, describe("a.txt").digest)
    path.write_bytes(b"abd")
    assert describe("a.txt").digest != first.digest
    put(tmp_path / "b.txt", b"abc")
    assert describe("b.txt").digest != first.digest


def test_bad_references(tmp_path):
    put(tmp_path / "notes.txt", b"x")
    with pytest.raises(DataError, match=r"does not exist(.|\n)*did you mean notes.txt"):
        list(records(str(tmp_path / "notse.txt")))
    for name in ("corpus.zip", "corpus.tar.gz"):
        with pytest.raises(DataError, match="no format is known") as said:
            describe(str(put(tmp_path / name, b"PK")))
        assert said.value.fix == "unpack it into a folder"
    with pytest.raises(DataError, match=r"no format is known(.|\n)*\.jsonl"):
        list(records(str(put(tmp_path / "a.docx", b"x"))))
    for name in ("a.txt", "a.jsonl", "a.csv", "a.html", "a.warc", "a.md"):
        with pytest.raises(DataError, match="is empty"):
            describe(str(put(tmp_path / name, b"")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file with text"):
        list(records(str(tmp_path / "empty")))
    put(tmp_path / "others/a.pdf", b"x")
    with pytest.raises(DataError, match=r"among 1 others, such as .*a\.pdf"):
        describe(str(tmp_path / "others"))
    for name in ("a.parquet", "a.arrow", "a.parquet.gz"):
        with pytest.raises(DataError, match=r"can't be read as (Parquet|Arrow)"):
            describe(str(put(tmp_path / name, b"no such thing")))
    with pytest.raises(DataError, match="is no WARC file"):
        describe(str(put(tmp_path / "b.warc", b"no such thing\n")))


@pytest.mark.parametrize("packing", [each for each in PACK if each])
def test_packed_data_cut_short(tmp_path, packing):
    values = ["".join(random.Random(i).choices("abcdefgh ", k=1000)) for i in range(300)]
    whole = PACK[packing](as_jsonl(values))
    path = put(tmp_path / f"a.jsonl{packing}", whole[: len(whole) * 2 // 3])
    found = list(records(str(path)))
    assert [each.text for each in found[:-1]] == values[: len(found) - 1]
    assert len(found) > (100 if packing == ".gz" else 1 if packing == ".zst" else 0)
    assert found[-1].broken.startswith("cut off")
    text = put(tmp_path / f"a.txt{packing}", PACK[packing](as_jsonl(values[:10]))[:-9])
    assert told(text) == [("cut off",)]
    assert told(put(tmp_path / f"a.csv{packing}", PACK[packing](as_csv(values))[:-9]))[-1] == ("cut off",)
    with pytest.raises(DataError, match="cut off"):
        list(records(str(put(tmp_path / f"a.parquet{packing}", PACK[packing](as_parquet(values))[:-9]))))


def test_packed_data_that_is_damaged(tmp_path):
    data = bytearray(gzip.compress(as_jsonl([str(i) * 50 for i in range(5000)])))
    data[len(data) // 2] ^= 0xFF
    found = told(put(tmp_path / "a.jsonl.gz", bytes(data)))
    assert found[-1] == ("damaged",)
    assert told(put(tmp_path / "b.jsonl.gz", gzip.compress(as_jsonl(["a"])) + b"rest")) == ["a", ("damaged",)]


def test_a_damaged_table_keeps_what_came_before(tmp_path):
    values = [f"text {i} " + "x" * 50 for i in range(2000)]
    parquet.write_table(pa.table({"text": values}), tmp_path / "a.parquet", compression="none", use_dictionary=False, row_group_size=100)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    place = data.index(b"text 1500")
    data[place - 200 : place] = b"\xff" * 200
    found = told(put(tmp_path / "a.parquet", bytes(data)))
    assert found[:-1] == values[: len(found) - 1]
    assert found[-1] == ("damaged",)
    assert 1000 < len(found) <= 1501
    column = pa.array([b"good", b"\xff\xfe", None, b"fine"], pa.binary())
    parquet.write_table(pa.table({"text": column}), tmp_path / "b.parquet")
    assert told(tmp_path / "b.parquet") == ["good", ("not UTF-8",), ("null",), "fine"]
    parquet.write_table(pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "c.parquet")
    assert good(tmp_path / "c.parquet") == ["a", "b", "a"]


def test_long_texts_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "PIECE", 1000)
    paragraphs = [f"{i} ünd so weiter {'wort ' * (i % 40)}\n\n" for i in range(200)]
    path = put(tmp_path / "a.txt", "".join(paragraphs))
    found = good(path)
    assert "".join(found) == "".join(paragraphs)
    assert all(500 <= len(each.encode()) <= 1000 and each.endswith("\n\n") for each in found[:-1])
    assert [each.id.rsplit(":")[-1] for each in records(str(path))] == [str(i + 1) for i in range(len(found))]
    letters = "ü🌱語x" * 3000
    assert "".join(good(put(tmp_path / "b.txt", letters))) == letters
    middle = put(tmp_path / "c.txt", b"word " * 300 + b"\xff" + b"word " * 300 + b"\0" + b" word" * 300)
    assert [each if isinstance(each, tuple) else "text" for each in told(middle)].count("text") == len(told(middle)) - 2
    assert told(put(tmp_path / "d.txt", b"\0" * 5000)) == [("binary",)]


def test_markdown_becomes_text(tmp_path):
    source = textwrap.dedent("""\
        ---
        title: x
        ---
        # Heading *with* stress

        A [link](http://x.org/y_z) and ![an image](i.png), `code_1` &amp; more
        on the next line with snake_case_name and 2 * 3 * 4.

        - one
        - **two**
          1. inner

        > quoted

        ```python
        x = "*kept*"
        ```

        | a | b |
        |---|---|
        | 1 | *2* |

        <div align="center">in <b>tags</b><!-- gone --></div>

        Setext
        ------
        """)
    expected = textwrap.dedent("""\
        Heading with stress

        A link and an image, code_1 & more
        on the next line with snake_case_name and 2 * 3 * 4.

        - one
        - two
        1. inner

        quoted

        x = "*kept*"
        a\tb
        1\t2

        in tags

        Setext""")
    assert good(put(tmp_path / "a.md", source)) == [expected]


PARAGRAPH = "Apples grow on trees in the valley, and each year the people of the village come together to pick them before the frost. " * 3
ARTICLE = f"<nav><a href=/>Home</a></nav><article><h1>On apples</h1><p>{PARAGRAPH}Grüße.</p></article>"
HTML = f"<html><head><title>T</title></head><body>{ARTICLE}</body></html>"


def test_pages_give_their_main_text(tmp_path):
    for codec, head in (("utf-8", ""), ("cp1252", '<meta charset="iso-8859-1">'), ("utf-16", ""), ("utf-8", '<meta charset="latin-1">')):
        (text,) = good(put(tmp_path / "a.html", HTML.replace("<head>", f"<head>{head}").encode(codec)))
        assert text.strip().endswith("before the frost. Grüße.")
        assert "Home" not in text
    assert told(put(tmp_path / "b.html", HTML.encode("latin-1"))) == [("not UTF-8",)]
    assert told(put(tmp_path / "c.html", "<html></html>")) == [("no text in the page",)]
    assert told(put(tmp_path / "d.htm.gz", gzip.compress(HTML.encode())[:-9])) == [("cut off",)]


def response(body, head="Content-Type: text/html; charset=utf-8", status="200 OK", kind="response", url="http://x.org/a"):
    body = body if isinstance(body, bytes) else body.encode()
    http = f"HTTP/1.1 {status}\r\n{head}\r\n\r\n".encode() + body
    header = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(http)}\r\n\r\n"
    return header.encode() + http + b"\r\n\r\n"


INFO = b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n"


def chunked(data):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:50], data[50:])) + b"0\r\n\r\n"


CRAWL = [
    INFO,
    response(HTML),
    response("plain Grüße", "Content-Type: text/plain", url="http://x.org/b"),
    response("GET", kind="request"),
    response(b"\x89PNG", "Content-Type: image/png"),
    response(HTML, status="404 Not Found"),
    response(gzip.compress(HTML.encode()), "Content-Type: text/html\r\nContent-Encoding: gzip"),
    response(chunked(HTML.encode()), "Content-Type: text/html\r\nTransfer-Encoding: chunked"),
    response(HTML.encode("cp1252"), "Content-Type: text/html; charset=ISO-8859-1"),
    response(b"xx", "Content-Type: text/html\r\nContent-Encoding: nonsense"),
    response("Content-Type: text/dns", url="dns:x.org"),
]


CRAWL_PACK = {
    "plain": b"".join,
    "members": lambda parts: b"".join(map(gzip.compress, parts)),
    "gzip": lambda parts: gzip.compress(b"".join(parts)),
    "zstd": lambda parts: PACK[".zst"](b"".join(parts)),
}


@pytest.mark.parametrize("pack", CRAWL_PACK)
def test_a_crawl(tmp_path, monkeypatch, pack, capsys):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.warc.gz", CRAWL_PACK[pack](CRAWL))
    found = list(records("a.warc.gz"))
    page = found[0].text
    assert page.strip().endswith("Grüße.")
    assert "Home" not in page
    assert [each.text or each.broken for each in found] == [
        page,
        "plain Grüße",
        "content type image/png",
        "status 404",
        page,
        page,
        page,
        "content encoding nonsense",
        "no text in the page",
    ]
    assert [each.id for each in found[:3]] == ["a.warc.gz:2 http://x.org/a", "a.warc.gz:3 http://x.org/b", "a.warc.gz:5 http://x.org/a"]
    assert list(records("a.warc.gz", start=4)) == found[4:]
    assert capsys.readouterr().err == ""


def kept(body, kind, head="text/plain"):
    """A record that is the page itself, without an answer of HTTP."""
    body = body.encode()
    return f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n"


def test_pages_without_an_answer_of_http_and_records_that_hold_none(tmp_path):
    """WET files of Common Crawl are conversions alone. What holds no page is counted by its kind: revisits alone would look empty."""
    parts = [
        INFO,
        kept("a text that was made of a page", "conversion"),
        kept(HTML, "resource", "text/html; charset=utf-8"),
        kept("GET / HTTP/1.1", "request", "application/http"),
        kept("x", "metadata", "application/warc-fields"),
        kept("not shown again", "revisit", "application/http"),
        kept("PNG", "resource", "image/png"),
        kept("body {}", "resource").replace(b"Content-Type: text/plain\r\n", b""),
    ]
    found = list(records(str(put(tmp_path / "CC-MAIN-1.warc.wet.gz", gzip.compress(b"".join(parts))))))
    assert found[0].text == "a text that was made of a page"
    assert found[1].text is not None
    assert found[1].text.strip().endswith("Grüße.")
    assert [each.broken for each in found[2:]] == ["record of kind revisit", "content type image/png", "content type none/none"]


def test_a_crawl_cut_short_anywhere(tmp_path, capsys):
    parts = [response(f"text {i}", "Content-Type: text/plain") for i in range(3)]
    whole = b"".join(parts)
    lasts = [len(b"".join(parts[: i + 1])) - 4 for i in range(3)]  # without the blank lines after a record nothing is lost
    for cut in range(2, len(whole)):
        path = put(tmp_path / "a.warc", whole[:cut])
        complete = sum(cut >= last for last in lasts)
        begun = cut - (0 if complete == 0 else lasts[complete - 1] + 4)
        if complete == 0 and begun < len("WARC/1.0"):
            with pytest.raises(DataError, match="is no WARC file"):
                told(path)
            continue
        rest = [("damaged" if begun < len("WARC/1.0") else "cut off",)] if begun > 0 and complete < 3 else []
        assert told(path) == [f"text {i}" for i in range(complete)] + rest, cut
    packed = b"".join(map(gzip.compress, parts))
    for cut in range(20, len(packed)):
        found = told(put(tmp_path / "a.warc.gz", packed[:cut]))
        assert found[: len(found) - 1] == [f"text {i}" for i in range(3)][: len(found) - 1]
        borders = [len(gzip.compress(parts[0])), len(gzip.compress(parts[0])) + len(gzip.compress(parts[1]))]
        assert found[-1] == (("damaged",) if cut - 1 in borders else ("cut off",)) or cut in borders, cut  # one byte of a gzip mark is none
    assert capsys.readouterr().err == ""


def test_a_crawl_that_is_damaged(tmp_path, capsys):
    parts = [
        response("text 0", "Content-Type: text/plain"),
        b"nonsense in between\r\nmore of it\r\n",
        response("lost", "Content-Type: text/plain"),
    ]
    assert told(put(tmp_path / "a.warc", b"".join(parts))) == ["text 0", ("damaged",)]
    assert capsys.readouterr().err == ""


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    warc._trafilatura.cache_clear()
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    monkeypatch.setitem(sys.modules, "warcio.archiveiterator", None)
    put(tmp_path / "d/a.html", HTML)
    for reference, package in ((tmp_path / "d", "trafilatura"), (put(tmp_path / "a.warc", CRAWL[1]), "warcio")):
        with pytest.raises(UsageError, match=rf"needs the package {package}(.|\n)*pip install 'rootstock\[corpus\]'"):
            list(records(str(reference)))


def test_the_embedded_texts():
    found = list(records("stdlib-docs"))
    assert len(found) > 1500
    assert found[0].id == "stdlib-docs:1"
    assert list(records("stdlib-docs", start=1000)) == found[1000:]
    assert describe("stdlib-docs").digest == describe("stdlib-docs").digest


def test_the_hub_in_streaming_mode(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    put(tmp_path / "set/train.jsonl", as_jsonl(TEXTS))
    put(tmp_path / "set/test.jsonl", as_jsonl(["other"]))
    reference = f"hf:{tmp_path / 'set'}"
    assert [each.id for each in records(reference)][:2] == [f"{reference}:1", f"{reference}:2"]
    assert good(f"{reference}:test") == ["other"]
    assert list(records(reference, start=2)) == list(records(reference))[2:]
    assert good(reference) == TEXTS
    first = describe(reference)
    put(tmp_path / "set/test.jsonl", as_jsonl(["changed"]))
    assert describe(reference).digest != first.digest
    check_unchanged(describe(reference))
    with pytest.raises(DataError, match=r"set has changed while hf:.* was read"):
        check_unchanged(first)
    datasets.Dataset.from_dict({"content": ["a", "b"], "label": [1, 0]}).save_to_disk(tmp_path / "saved")
    assert good(f"hf:{tmp_path / 'saved'}") == ["a", "b"]
    for bad, message in (
        ("hf:someone/some-set", r"could not be read(.|\n)*stdlib-docs"),
        (f"{reference}:tset", r"no split named 'tset'(.|\n)*'test'"),
        ("hf:", "names no data set"),
        ("hf:a:b:c:d", "names no data set"),
    ):
        with pytest.raises(UsageError, match=message):
            describe(bad)


PIECES = [
    '{"text": "a"}',
    "{",
    "}",
    '"',
    "text",
    ",",
    "\n",
    "\r\n",
    "\0",
    "é",
    "\ufeff",
    "\u2028",
    "[",
    "]",
    ":",
    "\\ud800",
    "1e999",
    "\t",
    "text,n\n",
    'x,"y\n',
]
anything = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join).map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(lambda text: text.encode("utf-16")),
    st.binary(max_size=40).map(lambda data: b"\x1f\x8b" + data),
    st.text(max_size=40).map(lambda text: gzip.compress(text.encode())[:-1]),
)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.warc"])
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=anything)
def test_any_bytes_give_records_or_one_clear_error(tmp_path, name, data):
    path = put(tmp_path / name, data)
    try:
        found = list(records(str(path)))
    except DataError:
        return
    assert [each.place for each in found] == list(range(len(found)))
    assert len({each.id for each in found}) == len(found)
    assert all((each.text is None) != (each.broken is None) for each in found)
    assert all(each.text is None or each.text.encode() is not None for each in found)
    for start in range(1, len(found) + 1):
        assert list(records(str(path), start=start)) == found[start:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30), min_size=1, max_size=8))
def test_any_texts_come_back(tmp_path, values):
    assert good(put(tmp_path / "a.jsonl", as_jsonl(values))) == values
    assert good(put(tmp_path / "a.csv", as_csv(values))) == values


def test_real_files(data_folder, tmp_path):
    found = good(data_folder / "llama_factory_demos/c4_demo.jsonl.gz")
    assert len(found) == 300
    assert len(good(data_folder / "banking77/train.csv.gz")) == 10_003
    with zipfile.ZipFile(data_folder / "state_union/state_union.zip") as archive:
        archive.extractall(tmp_path)
    (folder,) = [each for each in tmp_path.iterdir() if each.is_dir()]
    kinds = [each.broken and each.broken.partition(":")[0] for each in records(str(folder))]
    assert kinds.count(None) + kinds.count("not UTF-8") == len(kinds) == 65
    whole = gzip.decompress((data_folder / "tiny_shakespeare/input.txt.gz").read_bytes()).decode()
    assert "".join(good(data_folder / "tiny_shakespeare/input.txt.gz")) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet"])
def test_memory_stays_flat(tmp_path, name):
    path = tmp_path / name
    text = "some words of no great meaning, one after the other. " * 40
    rows = 400_000_000 // len(text)
    if name == "a.parquet":
        with parquet.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="none", use_dictionary=False) as writer:
            writer.write_table(pa.table({"text": [text] * rows}))
    else:
        line = {"a.txt": f"{text}\n\n", "a.jsonl": as_jsonl([text]).decode(), "a.csv": f'"{text}"\n'}[name]
        with path.open("w") as stream:
            stream.write("text\n" if name == "a.csv" else "")
            stream.writelines(line for _ in range(rows))
    program = f"""
        import resource
        from rootstock.corpus.sources import records
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        letters = sum(len(record.text) for record in records({str(path)!r}))
        assert letters >= {rows * len(text)}
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    grown = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(grown.stdout) * 1024 < 150e6


def test_of_a_built_corpus_only_the_shards_are_text(tmp_path):
    """Its card is Markdown, and would be a document of every corpus that is made of it."""
    put(tmp_path / "notes.txt", b"a text of its own")
    build.build(CorpusSettings(sources=(str(tmp_path / "notes.txt"),)), tmp_path / "corpus", Watch())
    assert [each.text for each in records(str(tmp_path / "corpus"))] == ["a text of its own"]
    facts = describe(str(tmp_path / "corpus"))
    assert ([Path(each.name).name for each in facts.files], facts.skipped) == (["shard-00000.parquet"], 0)
    (tmp_path / "corpus" / "shard-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"shard-00000\.parquet is missing"):
        next(records(str(tmp_path / "corpus")))
