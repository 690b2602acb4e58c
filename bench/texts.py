"""The public texts that the pre-training benchmarks learn from, as a folder of plain files: python bench/texts.py FOLDER"""

import gzip
import json
import re
import sys
import zipfile
from pathlib import Path

import sets


def zipped(name, *, ending, start=""):
    """Texts of a set's zip file by their names, UTF-8 or latin-1."""
    (path,) = (sets.DATA / name).glob("*.zip")
    with zipfile.ZipFile(path) as held:
        for member in held.namelist():
            if member.endswith(ending) and Path(member).name.startswith(start):
                raw = held.read(member)
                yield Path(member).stem, raw.decode("utf-8") if _is_utf8(raw) else raw.decode("latin-1")


def _is_utf8(raw):
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def untagged(text):
    """Words of word_TAG lines, with punctuation where it belongs."""
    words = re.sub(r"(\S+?)_[A-Z$]+(?=\s|$)|(\S+?)_[^\sA-Za-z]+(?=\s|$)", r"\1\2", text)
    return re.sub(r" +([,.;:?!)])", r"\1", words)


def lines(path):
    """Lines of a packed file."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return stream.read().splitlines()


def texts():
    """(name, text) of all of them."""
    for name, text in zipped("masc_tagged", ending=".txt"):
        if name != "categories":
            yield f"masc-{name}", untagged(text)
    for name in ("state_union", "inaugural"):
        for stem, text in zipped(name, ending=".txt"):
            yield f"{name}-{stem}", text
    for stem, text in zipped("genesis", ending=".txt", start="english"):
        yield f"genesis-{stem}", text
    for stem, text in zipped("shakespeare_plays", ending=".xml"):
        yield f"shakespeare-{stem}", re.sub(r"\n\s*\n+", "\n", re.sub(r"<[^>]+>", "", text))
    for part in ("valid", "test"):
        held = "\n".join(lines(sets.DATA / "wikitext2_valid_test" / f"{part}.txt.gz"))
        yield f"wikitext-{part}", held.replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".").replace("<unk>", "")
    demos = sets.DATA / "llama_factory_demos"
    yield "wiki", "\n\n".join(json.loads(line)["text"] if line.startswith("{") else line for line in lines(demos / "wiki_demo.txt.gz"))
    yield "c4", "\n\n".join(json.loads(line)["text"] for line in lines(demos / "c4_demo.jsonl.gz"))
    with gzip.open(sets.DATA / "xquad" / "xquad.en.json.gz", "rt", encoding="utf-8") as stream:
        yield "xquad", "\n\n".join(p["context"] for a in json.load(stream)["data"] for p in a["paragraphs"])
    yield "captions", "\n".join(line for path in sorted((sets.DATA / "multi30k").glob("train*.en.gz")) for line in lines(path))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
