"""Near duplicates: beside datasketch on published sets, and a curve over synthetic documents; writes results/near_duplicates.json.

    python -m pip install -c constraints.txt datasketch xxhash
    python bench/near_duplicates.py [--repeats 5] [--counts 10000 100000 300000 1000000]

Both get the same texts as strings, the same shingles, threshold and number of permutations, in one process, alternating. datasketch makes
its signatures with MinHash.bulk, once with its own hash (SHA-1) and once with xxhash; it stops at candidates, ours are verified too. Rates
are of processor seconds, since all run on one thread: neighbours on the machine don't change them; wall seconds stand beside.
"""

import argparse
import itertools
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import sets

from rootstock.corpus.minhash import Near, signatures
from rootstock.corpus.near import candidates, merged, verified

HERE = Path(__file__).parent
PART = 5000


def published(name):
    """The 1,000 texts of a set, and the pairs listed for it."""
    folder = sets.DATA / "ndd_docsets"
    with zipfile.ZipFile(folder / "ND-documentSet.zip") as bundle:
        files = [entry for entry in bundle.namelist() if entry.startswith(f"{name}/file")]
        texts = {int(re.search(r"file(\d+)", entry)[1]): bundle.read(entry).decode("latin-1") for entry in files}
    r8, webkb = (folder / "README-9c19cae.md").read_text("utf-8").split("2- a subset")
    listed = re.findall(r"'(\d+) and (\d+)'", r8 if name == "R8" else webkb)
    return [texts[number] for number in sorted(texts)], {(int(left), int(right)) for left, right in listed}


def grams(text, words):
    parts = text.lower().split()
    return {tuple(parts[i : i + words]) for i in range(max(len(parts) - words + 1, 1))}


def brute(texts, how):
    found = [grams(text, how.words) for text in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    return {(i, j) for i, j in pairs if len(found[i] & found[j]) / len(found[i] | found[j]) >= how.threshold}


def ours(texts, how):
    pairs = candidates(signatures(texts, how), how)
    return {(left, right) for left, right in verified(pairs, lambda places: [texts[i] for i in places], how).tolist()}


def theirs(texts, how, **options):
    from datasketch import MinHash, MinHashLSH

    shingled = ([" ".join(gram).encode() for gram in grams(text, how.words)] for text in texts)
    signed = MinHash.bulk(shingled, num_perm=how.width, **options)
    index = MinHashLSH(threshold=how.threshold, num_perm=how.width)
    with index.insertion_session() as session:
        for place, each in enumerate(signed):
            session.insert(place, each)
    return {(other, place) for place, each in enumerate(signed) for other in index.query(each) if other < place}


def xxhash32(data):
    import xxhash

    return xxhash.xxh32_intdigest(data)


def quality(found, wanted):
    both = len(found & wanted)
    return {"pairs": len(found), "precision": round(both / len(found), 4), "recall": round(both / len(wanted), 4)}


def timed(call, *arguments, **options):
    """Processor and wall seconds, and what came of it."""
    started = time.process_time(), time.perf_counter()
    found = call(*arguments, **options)
    return np.array([time.process_time() - started[0], time.perf_counter() - started[1]]), found


def compare(name, repeats):
    """Documents a second and quality of the three, and how ours stands to the published list."""
    how = Near(threshold=0.5, words=3)
    texts, listed = published(name)
    wanted = brute(texts, how)
    ways = {"rootstock": (ours, {}), "datasketch": (theirs, {}), "datasketch-xxhash": (theirs, {"hashfunc": xxhash32})}
    seconds, found = {way: [] for way in ways}, {}
    for _ in range(repeats):
        for way, (call, options) in ways.items():
            took, found[way] = timed(call, texts, how, **options)
            seconds[way].append(took)
    rows = {}
    for way in ways:
        cpu, wall = np.median(seconds[way], axis=0)
        ratio = statistics.median(b[0] / a[0] for a, b in zip(seconds["rootstock"], seconds[way], strict=True))
        rate = {"documents_per_s": round(len(texts) / cpu), "wall_s": round(wall, 3), "times_our_seconds": round(ratio, 2)}
        rows[way] = {**rate, **quality(found[way], wanted)}
    brief = {"documents": len(texts), "words": sum(len(text.split()) for text in texts), "permutations": how.width, "threshold": 0.5}
    return {**brief, "brute_force_pairs": len(wanted), "listed": quality(found["rootstock"], listed), **rows}


def part_of(number):
    """5,000 documents of 50 to 90 words; every tenth is one of the nine before it with another word in its middle (similarity above 0.8)."""
    rng = random.Random(number)
    made, origins = [], []
    for i in range(PART):
        back = rng.randint(1, 9)
        copied = i % 10 == 9
        words = list(made[i - back]) if copied else [f"w{int(20_000 * rng.random() ** 3)}" for _ in range(rng.randint(50, 90))]
        if copied:
            words[len(words) // 2] = "other"
        made.append(words)
        origins.append(i - back if copied else i)
    return [" ".join(words) for words in made], origins


def one(count):
    """Seconds and memory for so many documents, which lie in a file; and whether the clusters are exactly the planted ones."""
    how, lengths, wanted, seconds = Near(), [], [], {"signatures": np.zeros(2)}
    signed = np.empty((count, how.width), dtype=np.uint32)
    with tempfile.TemporaryFile() as file:
        for number in range(count // PART):
            texts, origins = part_of(number)
            took, signed[number * PART : (number + 1) * PART] = timed(signatures, texts, how)
            seconds["signatures"] += took
            wanted.append(np.array(origins) + number * PART)
            lengths += [len(text) for text in texts]
            file.write("".join(texts).encode())
        file.flush()
        starts = np.cumsum([0, *lengths])

        def text_of(places):
            return [os.pread(file.fileno(), lengths[i], starts[i]).decode() for i in places]

        seconds["candidates"], pairs = timed(candidates, signed, how)
        seconds["verified"], first = timed(merged, pairs, text_of, how, count=count)
    cpu, wall = sum(seconds.values())
    return {
        "documents": count,
        "text_mb": round(float(starts[-1]) / 2**20),
        "seconds": {**{name: round(took[0], 2) for name, took in seconds.items()}, "all": round(cpu, 2)},
        "wall_s": round(wall, 2),
        "documents_per_s": round(count / cpu),
        "signatures_mb": round(signed.nbytes / 2**20),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "candidates": len(pairs),
        "planted": count // 10,
        "exact": bool(np.array_equal(first, np.concatenate(wanted))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="*", default=[10_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--one", type=int)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "near_duplicates.json")
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(a.one)))
        return
    results = {"published": {name: compare(name, a.repeats) for name in ("webkb", "R8")}, "curve": []}
    for count in a.counts:
        done = subprocess.run([sys.executable, __file__, "--one", str(count)], capture_output=True, text=True, check=True)
        results["curve"].append(json.loads(done.stdout))
        print(done.stdout, end="", file=sys.stderr)
    a.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
