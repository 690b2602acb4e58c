import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from rootstock.core.errors import DataError, UnknownName
from rootstock.core.recipe import DataSettings
from rootstock.data.source import read

CSV = b"text,label\na fine film,1\na dull film,0\n"
COLUMNS = {"text": ["a fine film", "a dull film"], "label": ["1", "0"]}


def get(path, **settings):
    return read(str(path), DataSettings(train=str(path), **settings))


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def own(source):
    return source.table.drop_columns(["row"]).to_pydict()


def places(source):
    return source.table.column("row").to_pylist()


def as_bytes(kind):
    table, sink = pa.table(COLUMNS), pa.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(table, sink)
    elif kind == "feather":
        feather.write_feather(table, sink)
    else:
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


OBJECTS = [{"text": text, "label": label} for text, label in zip(*COLUMNS.values(), strict=True)]
FILES = {
    "a.csv": CSV,
    "a.tsv": CSV.replace(b",", b"\t"),
    "a.txt": CSV.replace(b",", b"\t"),
    "semicolons.csv": CSV.replace(b",", b";"),
    "a.jsonl": "\n".join(map(json.dumps, OBJECTS)),
    "a.ndjson": "\n\n".join(map(json.dumps, OBJECTS)),
    "a.json": json.dumps(OBJECTS, indent=1),
    "nested.json": json.dumps({"data": OBJECTS}),
    "lines.json": "\n".join(map(json.dumps, OBJECTS)),
    "lines.txt": "\n".join(map(json.dumps, OBJECTS)),
    "nothing-told": json.dumps(OBJECTS, indent=1),
    "a.parquet": as_bytes("parquet"),
    "parquet-by-content": as_bytes("parquet"),
    "a.arrow": as_bytes("arrow"),
    "a.feather": as_bytes("feather"),
    "stream.arrow": as_bytes("stream"),
    "marked.csv": b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n"),
    "wide.csv": CSV.decode().encode("utf-16"),
    "mac.csv": CSV.replace(b"\n", b"\r"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(tmp_path, name, packed):
    data = FILES[name] if isinstance(FILES[name], bytes) else FILES[name].encode()
    path = write(tmp_path, name + (".gz" if packed else ""), gzip.compress(data) if packed else data)
    source = get(path)
    assert own(source) == COLUMNS
    assert source.table.schema.field("row").type == pa.int64()
    assert source.name == str(path)
    assert ("packed with gzip" in source.notes) == packed


def test_the_digest_is_of_the_unpacked_bytes(tmp_path):
    plain = get(write(tmp_path, "a.csv", CSV))
    packed = get(write(tmp_path, "a.csv.gz", gzip.compress(CSV)))
    other = get(write(tmp_path, "b.csv", CSV.replace(b"dull", b"poor")))
    assert plain.digest == packed.digest != other.digest


def test_a_folder_of_class_folders(tmp_path):
    for name, text in {"pos/1.txt": "fine", "pos/2.txt": "", "neg/1.txt": "dull", "empty/readme.md": "x", "pos/x.md": "x"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "neg/2.txt.gz").write_bytes(gzip.compress("größe".encode()))
    first = get(tmp_path)
    assert own(first) == {"text": ["dull", "größe", "fine", ""], "label": ["neg", "neg", "pos", "pos"]}
    assert any("'empty' holds no .txt" in note for note in first.notes)
    assert any("1 other entry" in note for note in first.notes)
    (tmp_path / "pos/2.txt").rename(tmp_path / "pos/3.txt")
    assert get(tmp_path).digest != first.digest


def test_class_numbers_become_the_names_that_a_file_carries(tmp_path):
    features = {"info": {"features": {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]}).replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert own(get(tmp_path / "a.parquet"))["label"] == ["good", "bad", None]


def test_a_column_called_row_keeps_its_values_under_another_name(tmp_path):
    source = get(write(tmp_path, "a.csv", "row,text\n7,fine\n8,dull\n"))
    assert own(source) == {"row_1": ["7", "8"], "text": ["fine", "dull"]}
    assert places(source) == [2, 3]
    assert any("'row_1'" in note for note in source.notes)


def test_json_of_mixed_kinds_is_text_and_says_so(tmp_path):
    source = get(write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": "x", "more": [1]}\n'))
    assert own(source) == {"text": ["a", "b"], "label": ["1", "x"], "more": [None, [1]]}
    assert places(source) == [1, 3]
    assert any("'label' mixes kinds" in note for note in source.notes)


def test_the_encoding_that_is_set_is_used(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\nGröße,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 2: byte 0xf6 at offset 13 is not utf-8(.|\n)*data.encoding=latin-1"):
        get(path)
    assert own(get(path, encoding="latin-1"))["text"] == ["Größe"]


ZIP = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xff\xfe"
BAD = {
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n \n", "is empty"),
    "header.csv": (b"text,label\n", "only a header"),
    "ragged.csv": (b'text,label\n"a\nb",1\nc,d,1\n', "line 4: found 3 fields"),
    "twice.csv": (b"text,label,label\na,1,2\n", "'label' more than once"),
    "open.csv": (b'text,label\na,1\n"b,1\nc,1\n', "line 3: a quote opens here"),
    "nul.csv": (b"text,label\na\0b,1\n", "line 2: found a NUL byte"),
    "garbage.csv": (bytes(range(1, 256)), "is not utf-8"),
    "book.csv": (ZIP, "zip archive or an Excel workbook"),
    "cut.csv.gz": (gzip.compress(CSV)[:-12], "cut off"),
    "bits.csv.gz": (gzip.compress(CSV)[:-8] + b"\0" * 8, "damaged"),
    "cut.parquet": (as_bytes("parquet")[:-30], "can't be read as parquet"),
    "cut.arrow": (as_bytes("arrow")[:200], "can't be read as arrow"),
    "none.parquet": (b"text,label\n", "can't be read as parquet"),
    "empty.json": (b"[]", "no rows"),
    "scalar.json": (b"3", "holds a number"),
    "strings.json": (b'["a", "b"]', "record 1: found a string"),
    "half.json": (b'[{"text": "a"},\n {"text": ]', "line 2: no JSON"),
    "list.jsonl": (b'{"text": "a"}\n[1]\n', "line 2: found a list"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "surrogate.jsonl": (b'{"text": "\\ud800"}\n', "surrogate"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_clear_error(tmp_path, name):
    data, message = BAD[name]
    with pytest.raises(DataError) as caught:
        get(write(tmp_path, name, data))
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, "train.csv", CSV)
    with pytest.raises(DataError, match=r"did you mean train\.csv\?"):
        get(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="there is no folder"):
        get(tmp_path / "no" / "train.csv")
    with pytest.raises(DataError, match="does not exist"):
        get(tmp_path / "train.csv" / "more.csv")
    with pytest.raises(DataError, match="null"):
        get("a\0b.csv")


def test_folders_that_hold_no_class_folders(tmp_path):
    write(tmp_path, "a.csv", CSV)
    with pytest.raises(DataError, match=r"without class folders(.|\n)*a\.csv"):
        get(tmp_path)
    with pytest.raises(DataError, match="is a folder"):
        get(tmp_path, format="csv")
    (tmp_path / "train" / "pos").mkdir(parents=True)
    write(tmp_path / "train" / "pos", "1.txt", b"fine")
    with pytest.raises(DataError, match="/train: the class folders are there"):
        get(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        get(tmp_path / "nowhere", format="folder")
    with pytest.raises(DataError, match="is a file"):
        get(tmp_path / "a.csv", format="folder")


def test_unknown_settings_are_named(tmp_path):
    path = write(tmp_path, "a.csv", CSV)
    with pytest.raises(UnknownName, match="did you mean 'jsonl'"):
        get(path, format="jsnl")
    for encoding in ("latin-99", "base64", "a\0b"):
        with pytest.raises(DataError, match=r"data\.encoding"):
            get(path, encoding=encoding)
