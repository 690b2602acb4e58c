"""Readers of the scanner on changed files, by the million: no error, no hang, no growth of memory.

python bench/fuzz_readers.py [inputs] [seed]    # writes results/fuzz_readers.json
"""

# ruff: noqa: E402  (the path comes first)
import json
import os
import random
import resource
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]
from tests.sentinel.test_scan_fuzz import NAMES, SEEDS, context, readers

from rootstock.sentinel.findings import LimitReached, Malformed
from rootstock.sentinel.source import of_bytes

EDGES = (b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x80", b"\xff" * 4 + b"\x7f" * 4, b"\x80" * 12, b"[" * 40, b'{"a":' * 20)
SLOW = 2.0


def change(data: bytes, rng: random.Random) -> bytes:
    """One to six changes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 1:
            del out[at : at + rng.randint(1, 16)]
        elif kind == 2:
            out[at:at] = out[at : at + rng.randint(1, 64)]
        elif kind == 3 and rng.random() < 0.2:
            del out[at:]
        elif kind == 4:
            out[at : at + 8] = rng.choice(EDGES)
        elif at < len(out):
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def main(inputs: int, seed: int) -> None:
    """Change, read, count."""
    rng, modules, errors, slow = random.Random(seed), readers(), [], []
    pool = {name: [content] for name, content in SEEDS.items()}
    started = time.monotonic()
    for number in range(inputs):
        name = rng.choice(list(SEEDS))
        data = change(rng.choice(pool[name]), rng)
        if number % 50 == 0 and len(pool[name]) < 200:
            pool[name].append(data)  # so that changes add up
        begun = time.monotonic()
        source = of_bytes(data, path=f"/x/{NAMES.get(name, 'file')}")
        try:
            modules[name].recognises(source.probe)
            list(modules[name].scan(source, context()))
        except (Malformed, LimitReached):
            pass
        except Exception as error:
            errors.append({"reader": name, "error": repr(error)[:200], "input": data.hex()[:4000]})
            if len(errors) >= 20:
                break
        if time.monotonic() - begun > SLOW:
            slow.append({"reader": name, "seconds": time.monotonic() - begun, "input": data.hex()[:4000]})
    result = {
        "inputs": number + 1,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "errors": errors,
        "slow": slow,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    folder = Path(os.environ.get("ROOTSTOCK_RESULTS", Path(__file__).parent / "results"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fuzz_readers.json").write_text(json.dumps(result, indent=1))
    print({**result, "errors": [(each["reader"], each["error"]) for each in errors], "slow": len(slow)})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
