"""Whatever bytes a file holds, reading it gives a table or one clear error."""

import gzip
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tests.conftest import examples

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.schema import canonical, infer
from rootstock.data.source import Source, read

TABLE = pa.table({"text": ["a fine film", None, "a dull film"] * 5, "label": ["1", "0", "1"] * 5, "tags": [["a"], [], None] * 5})

SUFFIXES = ["csv", "tsv", "txt", "jsonl", "json", "parquet", "arrow", "none"]
PIECES = [
    ",",
    ";",
    "\t",
    "|",
    '"',
    '""',
    "\n",
    "\r\n",
    "\r",
    "text",
    "label",
    "row",
    "1",
    "-0.5",
    "nan",
    " ",
    "",
    "é",
    "\u2028",
    "\ufeff",
    "\0",
]
PIECES += ["{", "}", "[", "]", ":", '{"text": "a"}', '"label": ', "null", "1e999", "NaN", "\\ud800", "9" * 5000, "true", '{"data": [']
anything = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join).map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(lambda text: text.encode("utf-16")),
    st.binary(max_size=40).map(lambda data: b"\x1f\x8b" + data),
    st.text(max_size=40).map(lambda text: gzip.compress(text.encode("utf-8", "replace"))),
)
options = st.fixed_dictionaries(
    {
        "header": st.sampled_from(["auto", "yes", "no"]),
        "quoting": st.sampled_from(["auto", "yes", "no"]),
        "encoding": st.sampled_from(["auto", "latin-1", "utf-16", "utf-7", "ascii"]),
    }
)


def survives(path, **more):
    """The source, or None after a DataError; any other exception fails the test."""
    try:
        source = read(str(path), DataSettings(train="x", **more))
    except DataError:
        return None
    assert isinstance(source, Source)
    assert source.table.num_rows > 0
    with suppress(DataError):
        canonical(source, infer(source.table))
    return source


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=anything, more=options)
def test_any_bytes(tmp_path, suffix, data, more):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    survives(path, **more)


def columnar(kind):
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(TABLE, sink)
    else:
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 200) | st.none())
def test_damaged_columnar_files(tmp_path, kind, place, byte, cut):
    data = bytearray(columnar(kind))
    data[place % len(data)] = byte
    path = tmp_path / f"a.{'parquet' if kind == 'parquet' else 'arrow'}"
    path.write_bytes(bytes(data[:cut]))
    survives(path)
