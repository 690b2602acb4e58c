"""Damage that must be found: single bit flips, truncations and swapped shards of a base; and how fast files are digested.

python bench/integrity.py [flips] [truncations] [swaps]    # writes results/integrity.json; ROOTSTOCK_RESULTS is another folder for results

The base is minilm, cut in shards, with a list of digests beside it as a publisher gives. For flips only the digests are asked: what they miss
nothing else finds for sure. Truncations and swaps are tried again without digests, by structure and index alone.
"""

# ruff: noqa: E402  (the path comes first)
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "src")]
import numpy as np
from safetensors.numpy import load_file, save_file

from rootstock.bases.resolve import resolve
from rootstock.sentinel.integrity.validator import WeightIntegrityValidator
from rootstock.sentinel.provenance import claims, digests

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
SHARDS = 4
DIGESTED_BYTES = 1 << 30


def shards(place: Path) -> list[Path]:
    """minilm in shards of which each has a name of its own, with an index and a list of digests."""
    base = resolve("minilm").folder
    assert base is not None
    tensors = sorted(load_file(base / "model.safetensors").items())
    place.mkdir(parents=True)
    shutil.copy(base / "config.json", place)
    mapping, paths = {}, []
    for number in range(SHARDS):
        path = place / f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = dict(tensors[number::SHARDS])
        save_file(part, path)
        mapping |= dict.fromkeys(part, path.name)
        paths.append(path)
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    (place / "SHA256SUMS").write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths))
    return paths


def by_digest(place: Path) -> bool:
    held = digests.each(place, digests.files(place))
    return any("Digest mismatch" in each for each in claims.compare(place, claims.gather(place), held).issues)


def by_structure(place: Path) -> bool:
    """Without the list of digests."""
    listed = place / "SHA256SUMS"
    aside = listed.rename(place / "aside.txt")
    try:
        return not WeightIntegrityValidator().validate(place).whole
    finally:
        aside.rename(listed)


def flips(place: Path, paths: list[Path], count: int, rng: random.Random) -> int:
    found = 0
    for _ in range(count):
        path = rng.choice(paths)
        at, bit = rng.randrange(path.stat().st_size), 1 << rng.randrange(8)
        with path.open("r+b") as stream:
            stream.seek(at)
            old = stream.read(1)
            stream.seek(at)
            stream.write(bytes([old[0] ^ bit]))
        found += by_digest(place)
        with path.open("r+b") as stream:
            stream.seek(at)
            stream.write(old)
    return found


def truncations(place: Path, paths: list[Path], count: int, rng: random.Random) -> tuple[int, int]:
    found = structural = 0
    for _ in range(count):
        path = rng.choice(paths)
        kept = path.read_bytes()
        path.write_bytes(kept[: rng.randrange(len(kept))])
        found += by_digest(place)
        structural += by_structure(place)
        path.write_bytes(kept)
    return found, structural


def swaps(place: Path, paths: list[Path], count: int, rng: random.Random) -> tuple[int, int]:
    found = structural = 0
    for _ in range(count):
        first, second = rng.sample(paths, 2)
        aside = place / "aside.bin"
        for turn in range(2):  # there, and back after it was looked at
            first.rename(aside)
            second.rename(first)
            aside.rename(second)
            if turn == 0:
                found += by_digest(place)
                structural += by_structure(place)
    return found, structural


def digest_rate(place: Path) -> dict[str, float]:
    """GB/s of four files that together have a GiB, warm, and of one core on one of them."""
    place.mkdir()
    block = np.random.default_rng(0).bytes(1 << 24)
    for number in range(SHARDS):
        with (place / f"{number}.bin").open("wb") as stream:
            for _ in range(DIGESTED_BYTES // SHARDS // len(block)):
                stream.write(block)
    digests.each(place, digests.files(place))
    start = time.perf_counter()
    digests.each(place, digests.files(place))
    whole = time.perf_counter() - start
    start = time.perf_counter()
    with (place / "0.bin").open("rb") as stream:
        hashlib.file_digest(stream, "sha256")
    one = time.perf_counter() - start
    return {"all_cores_gb_per_s": DIGESTED_BYTES / whole / 1e9, "one_core_gb_per_s": DIGESTED_BYTES / SHARDS / one / 1e9}


def main() -> None:
    asked = [int(word) for word in sys.argv[1:]] + [1000, 100, 100][len(sys.argv) - 1 :]
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        paths = shards(place)
        assert not by_structure(place), "the base itself is whole"
        cut, cut_bare = truncations(place, paths, asked[1], rng)
        swapped, swapped_bare = swaps(place, paths, asked[2], rng)
        found = {
            "flips": {"tried": asked[0], "found": flips(place, paths, asked[0], rng)},
            "truncations": {"tried": asked[1], "found": cut, "found_without_digests": cut_bare},
            "swaps": {"tried": asked[2], "found": swapped, "found_without_digests": swapped_bare},
        }
        assert not by_digest(place), "everything was put back"
        found["digests"] = digest_rate(Path(folder) / "large") if asked[0] >= 1000 else {}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "integrity.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
