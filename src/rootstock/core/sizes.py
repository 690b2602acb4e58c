"""Amounts of memory as people write them."""

import re


def in_bytes(text: str) -> int:
    """Bytes of 16GB, 2.5 GB or 800MB, in powers of ten. Raises ValueError for anything else."""
    found = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    try:
        return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")) if found else int("")
    except (ValueError, OverflowError):
        raise ValueError("an amount such as 16GB") from None
