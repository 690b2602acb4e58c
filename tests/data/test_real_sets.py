"""The readers and the schema on public files as their authors publish them."""

import pytest

from rootstock.core.errors import DataError
from rootstock.core.recipe import DataSettings
from rootstock.data.schema import canonical, infer
from rootstock.data.source import read
from rootstock.data.split import split

SETS = {
    "sst2/train.tsv.gz": (6920, "column_1", None, "column_2", 2),
    "sst2/dev.tsv": (872, "column_1", None, "column_2", 2),
    "banking77/train.csv.gz": (10003, "text", None, "category", 77),
    "mrpc/msr_paraphrase_train.txt.gz": (4076, "#1 String", "#2 String", "Quality", 2),
    "mrpc/msr_paraphrase_test.txt.gz": (1725, "#1 String", "#2 String", "Quality", 2),
    "sts_b/train.tsv.gz": (5749, "sentence1", "sentence2", "score", 205),
    "rte_glue/train.tsv.gz": (1244, "sentence1", "sentence2", "label", 2),
    "scibert_tasks/text_classification/chemprot/train.txt.gz": (4169, "text", None, "label", 13),
}


@pytest.mark.parametrize("name", SETS)
def test_counts_and_columns(data_folder, name):
    count, text, pair, label, values = SETS[name]
    source = read(str(data_folder / name), DataSettings(train=name))
    schema = infer(source.table)
    found = canonical(source, schema)
    assert (found.rows.num_rows, schema.text, schema.text_pair, schema.label) == (count, text, pair, label)
    assert len(set(found.rows.column("label").to_pylist())) == values
    assert found.dropped == ()
    train, validation = split(found.rows, 0.1, 42, stratify=values < 100)
    assert validation.num_rows == pytest.approx(count / 10, abs=2)
    assert train.num_rows + validation.num_rows == count


def test_ragged_lines_of_a_real_file_are_named(data_folder):
    with pytest.raises(DataError, match="line 626: found 9 fields \\(and 283 more such lines\\)"):
        read(str(data_folder / "sts_b/original/sts-test.tsv.gz"), DataSettings(train="x"))
