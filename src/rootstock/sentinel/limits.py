"""How much a scan may read, unpack and take. What lies beyond a limit is a finding, never a pass."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one scan."""

    seconds: float = 1800.0
    """Of the whole scan."""
    file_seconds: float = 300.0
    """Of one file with all that lies in it."""
    depth: int = 8
    """Archives within archives."""
    members: int = 200_000
    """Parts of one file, over all archives within it."""
    output_bytes: int = 64 << 30
    """What one file may unpack to, over all archives within it; unpacked parts above 8 MiB lie in a temporary file meanwhile."""
    ratio: float = 200.0
    """Unpacked to packed bytes of one part; counts from `ratio_from` unpacked bytes on."""
    ratio_from: int = 32 << 20
    header_bytes: int = 100_000_000
    """The longest header, table or text that is read as a whole."""
    memo: int = 12_000_000
    """Objects and memo entries of one pickle, at 4 to 10 bytes each here."""
