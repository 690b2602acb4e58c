import random
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from rootstock.core.errors import DataError
from rootstock.corpus.step import SCHEMA
from rootstock.corpus.steps.exact_duplicates import ExactDuplicates, digests


def documents(texts):
    return pa.table(
        {"id": list(map(str, range(len(texts)))), "text": texts, "language": [""] * len(texts), "source": [0] * len(texts)}, SCHEMA
    )


def dropped(step, texts):
    """Places of the texts that a step drops."""
    applied = step.apply(documents(texts))
    assert list(applied.texts) == texts
    assert set(applied.reasons) <= {None, "exact duplicate"}
    return [place for place, reason in enumerate(applied.reasons) if reason]


def test_the_first_of_equal_texts_stays():
    texts = ["A film", "a  FILM\n", "a film.", "Straße", "STRASSE", "ﬁne", "fine", "cafe\u0301", "café", "", " ", "A film"]
    assert dropped(ExactDuplicates(), texts) == [1, 4, 6, 8, 10, 11]
    assert dropped(ExactDuplicates(fold=False), texts) == [11]


def test_the_same_whatever_the_batches_and_as_a_set():
    rng = random.Random(5)
    texts = [f"text {rng.randint(0, 3000)}" for _ in range(5000)]
    seen, expected = set(), []
    for place, text in enumerate(texts):
        expected += [place] if text in seen else []
        seen.add(text)
    for size in (1, 7, 64, 5000):
        step = ExactDuplicates()
        found = [start + place for start in range(0, len(texts), size) for place in dropped(step, texts[start : start + size])]
        assert found == expected, size
        assert len(step.new()) == len(seen)
    assert dropped(ExactDuplicates(), []) == []


def test_a_build_goes_on_after_a_kill():
    rng = random.Random(6)
    parts = [[f"text {rng.randint(0, 200)}" for _ in range(50)] for _ in range(6)]
    whole, killed = ExactDuplicates(), ExactDuplicates()
    expected = [dropped(whole, part) for part in parts]
    kept = []
    for part in parts[:3]:
        dropped(killed, part)
        kept.append(killed.new())
    assert len(killed.new()) == 0
    resumed = ExactDuplicates()
    for each in kept:
        resumed.load(each)
    assert len(resumed.new()) == 0
    assert [dropped(resumed, part) for part in parts[3:]] == expected[3:]
    assert sum(map(len, expected[3:])) > 0


def test_digests_are_those_of_every_machine():
    assert digests(["abc"], 1).tolist() == [int.from_bytes(blake2b(b"abc", digest_size=8).digest(), "little")]
    assert digests([], 0).dtype == np.uint64


def test_half_a_letter_is_a_text_too():
    assert len(set(digests(["\ud800", "\ud801", "?"], 3).tolist())) == 3


def test_what_is_no_record_is_refused():
    for wrong in (np.zeros(3, np.int64), np.zeros((2, 2), np.uint64), np.array(["a"])):
        with pytest.raises(DataError, match="wanted: uint64"):
            ExactDuplicates().load(wrong)


def test_memory_is_eight_bytes_a_text():
    step = ExactDuplicates()
    rng = np.random.default_rng(0)
    for _ in range(50):
        step.load(rng.integers(0, 2**63, 4000, dtype=np.uint64))
    assert sum(run.nbytes for run in step._runs) == 8 * 200_000
    assert len(step._runs) <= 8
