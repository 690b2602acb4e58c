"""Numbers and names as a person reads them."""

from rootstock.report.words import aligned


def test_words_begin_together_and_numbers_end_together():
    rows = [("arm", "F1", ""), ("full", "0.9", "front"), ("lora", "12.25", "")]
    assert list(aligned(rows)) == ["arm   F1", "full  0.9    front", "lora  12.25"]
    assert list(aligned(rows, left=(0, -1))) == ["arm      F1", "full    0.9  front", "lora  12.25"]
