"""Amounts of memory as people write them."""

import pytest

from rootstock.core.sizes import in_bytes


@pytest.mark.parametrize(
    ("text", "found"), [("16GB", 16 * 10**9), ("2.5 gb", 25 * 10**8), ("800MB", 8 * 10**8), ("1T", 10**12), ("12", 12), (" 3k ", 3000)]
)
def test_bytes(text, found):
    assert in_bytes(text) == found


@pytest.mark.parametrize("text", ["", "GB", "1.2.3GB", "-4GB", "4 GiB", "inf", "1e9"])
def test_what_is_no_amount(text):
    with pytest.raises(ValueError, match="16GB"):
        in_bytes(text)
