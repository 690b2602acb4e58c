"""What a tokenizer learns: its pieces, from texts.

The same texts give the same pieces. The trainers of `tokenizers` keep that for BPE only: WordPiece numbers its ## letters, and Unigram adds
up its expectations, in the order of a hash map that is another one in every process (huggingface/tokenizers issue 1794). So units are
counted here, WordPiece is given its ## letters numbered, and Unigram is learned by sentencepiece.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rootstock.core.errors import DataError, UsageError
from rootstock.core.modules import needed
from rootstock.corpus.families import TokenizerSettings

INNER = "##"
"""What WordPiece writes before a piece that does not begin a word."""
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Tokens that stand in for characters outside the alphabet."""
_HELD = 1_000_000
"""Different strings between spaces that are counted before they are cut: bounds memory, and a common word is cut once."""
_LONGEST = 100
"""Characters of a unit, the longest word that WordPiece reads; longer ones (no spaces, as in Thai, or junk) count in such stretches."""
_AT_ONCE = 1000
_STRETCH = 100_000
_MARKS = "ᚠᚁ𐌰ᜀ"
"""Letters of scripts that no corpus uses."""


@dataclass
class Seen:
    """Texts on their way to the trainer, counted and digested as they pass.

    names: where they come from. broken: records without a text, by rule.
    """

    source: Iterable[str]
    names: tuple[str, ...] = ()
    broken: Counter[str] = field(default_factory=Counter)
    texts: int = 0
    characters: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[str]:
        """The texts that hold anything; a lone surrogate (half an escape in JSON) becomes a question mark."""
        for text in self.source:
            data = text.encode(errors="replace")
            self._digest.update(len(data).to_bytes(8, "little") + data)
            if text.strip():
                self.texts += 1
                self.characters += len(text)
                yield data.decode()

    def facts(self) -> dict[str, Any]:
        """What was read. digest: sha256 of every text in order, each preceded by its length in 8 bytes."""
        digest = self._digest.hexdigest()
        read = {"texts": self.texts, "characters": self.characters, "digest": digest}
        return {"sources": list(self.names), **read, "broken": dict(self.broken.most_common())}


@dataclass(frozen=True)
class Lesson:
    """What is to be learned. shell: cuts texts. fixed: tokens that stand before the learned ones. room: how many may be learned."""

    shell: Tokenizer
    texts: Seen
    settings: TokenizerSettings
    fixed: tuple[str, ...]
    room: int
    unknown: str

    def units(self) -> dict[str, int]:
        """How often each unit occurs, in order of spelling; those with letters outside the covered alphabet are left out."""
        counts = _count(self.texts, self.shell)
        kept = _alphabet(counts, self.settings.coverage)
        units = {unit: counts[unit] for unit in sorted(counts) if kept.issuperset(unit)}
        if not units:
            raise _empty(self.texts)
        return units

    def ids(self, tokens: Iterable[str]) -> dict[str, int]:
        return {token: number for number, token in enumerate((*self.fixed, *tokens))}

    def fits(self, needed: int) -> None:
        """Raises UsageError where the learned tokens need more than the room."""
        if needed > self.room:
            size = self.settings.size
            rarer = "" if self.settings.byte_level else ", or --coverage 0.9995 to leave out the rarest characters"
            raise UsageError(
                f"a size of {size:,} is too small: special tokens and alphabet alone take {size - self.room + needed:,}",
                wanted=f"{size - self.room + needed:,} or more",
                fix=f"give --size {size - self.room + needed}{rarer}",
            )


def stretches(text: str) -> Iterator[str]:
    """A text in parts of bounded length, parted before spaces: an encoding takes some hundred times the memory of its text."""
    start = 0
    while len(text) - start > _STRETCH:
        space = text.rfind(" ", start + 1, start + _STRETCH)
        end = space if space > 0 else start + _STRETCH
        yield text[start:end]
        start = end
    yield text[start:]


def _empty(seen: Seen) -> DataError:
    lost = "".join(f"; left out, {rule}: {count:,}" for rule, count in seen.broken.items())
    return DataError(f"the corpus holds no text to learn from{lost}", wanted="texts with words", fix="check the sources of the corpus")


def _count(texts: Iterable[str], shell: Tokenizer) -> Counter[str]:
    """Units: what the pre-tokenizer gives. Strings between spaces are counted first, so that each is cut once."""
    held: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for text in texts:
        held.update(text.split())
        if len(held) > _HELD:
            _cut(held, shell, units)
            held.clear()
    _cut(held, shell, units)
    return units


def _cut(held: Mapping[str, int], shell: Tokenizer, units: Counter[str]) -> None:
    normalize, part = shell.normalizer.normalize_str, shell.pre_tokenizer.pre_tokenize_str
    for string, count in held.items():
        for unit, _ in part(normalize(string)):
            for start in range(0, len(unit), _LONGEST):
                units[unit[start : start + _LONGEST]] += count


def _alphabet(units: Mapping[str, int], share: float) -> set[str]:
    """The most frequent characters that together make up the share of all; ties by code point."""
    counts: Counter[str] = Counter()
    for unit, count in units.items():
        for letter in unit:
            counts[letter] += count
    if share == 1:
        return set(counts)
    kept, reached, wanted = set(), 0, share * counts.total()
    for letter in sorted(counts, key=lambda letter: (-counts[letter], letter)):
        if reached >= wanted:
            break
        kept.add(letter)
        reached += counts[letter]
    return kept


def _repeated(units: Mapping[str, int]) -> Iterator[str]:
    """Texts in which each unit stands as often as it was counted: the trainer takes texts only."""
    for unit, count in units.items():
        for start in range(0, count, _AT_ONCE):
            yield " ".join([unit] * min(_AT_ONCE, count - start))


def _merged(learner: Tokenizer, texts: Iterator[str], lesson: Lesson, **options: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by id, and merges by rank, of the BPE trainer; without room for the alphabet it gives the alphabet alone."""
    trainer = trainers.BpeTrainer(vocab_size=max(lesson.room, 0), min_frequency=lesson.settings.least, show_progress=False, **options)
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    lesson.fits(len(tokens))
    return tokens, [(left, right) for left, right in model["merges"]]


def _by_spaces() -> Tokenizer:
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return learner


def _wordpiece(lesson: Lesson) -> Any:
    units = lesson.units()
    inner = sorted({INNER + letter for unit in units for letter in unit[1:]})
    # Special tokens get their numbers first and in order; as numbers decide between equally frequent pairs, the rest is settled by that.
    tokens, _ = _merged(_by_spaces(), _repeated(units), lesson, special_tokens=inner, continuing_subword_prefix=INNER)
    letters = [token for token in tokens if len(token) == 1]
    joined = tokens[len(inner) + len(letters) :]
    return models.WordPiece(lesson.ids([*letters, *inner, *joined]), unk_token=lesson.unknown, max_input_chars_per_word=_LONGEST)


def _bpe(lesson: Lesson) -> Any:
    if lesson.settings.byte_level:
        return _byte_level(lesson)
    tokens, merges = _merged(_by_spaces(), _repeated(lesson.units()), lesson)
    return models.BPE(lesson.ids(tokens), merges, unk_token=lesson.unknown, fuse_unk=True, byte_fallback=True)


def _byte_level(lesson: Lesson) -> Any:
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = lesson.shell.normalizer, lesson.shell.pre_tokenizer
    tokens, merges = _merged(
        learner, (part for text in lesson.texts for part in stretches(text)), lesson, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    if not lesson.texts.texts:
        raise _empty(lesson.texts)
    return models.BPE(lesson.ids(tokens), merges)


def _unigram(lesson: Lesson) -> Any:
    units = lesson.units()
    lesson.fits(len(set().union(*units)))
    pieces = _likeliest(units, lesson.room)
    # Bytes only stand in for unseen characters; "<0x41>" written out is no reason to take one.
    low = min(score for _, score in pieces) - 10
    fixed = [(token, low if token in BYTES else 0.0) for token in lesson.fixed]
    return models.Unigram([*fixed, *pieces], unk_id=lesson.fixed.index(lesson.unknown), byte_fallback=lesson.settings.family == "llama")


def _likeliest(units: Mapping[str, int], room: int) -> list[tuple[str, float]]:
    """Pieces with their log probabilities, the likeliest first."""
    sentencepiece = needed("sentencepiece", "unigram", otherwise="choose --kind bpe")
    mark = next((each for each in _MARKS if not any(each in unit for unit in units)), "")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_marked(units, mark),
        input_format="tsv",
        model_writer=written,
        model_type="unigram",
        vocab_size=room + 1 + len(mark),  # its own unknown piece, and the mark
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        bos_id=-1,
        eos_id=-1,
        num_threads=2,  # sums depend on the number of threads: one and the same everywhere
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size()) if not model.is_unknown(i)]
    return [(piece, score) for piece, score in pieces if not mark or mark not in piece]


def _marked(units: Mapping[str, int], mark: str) -> Iterator[str]:
    """Units with their counts, for sentencepiece; one occurrence of each is followed by a mark.

    Only what is followed by different characters can become a piece, so a word that no longer word begins with could not: half of the most
    frequent words of English were missing from 8,000 pieces. A piece does not mix scripts, so the mark gets into none.
    """
    for unit, count in units.items():
        marked = bool(mark) and count > 1 and len(unit) > 1
        if marked:
            yield f"{unit}{mark}\t1"
        yield f"{unit}\t{count - marked}"


LEARNERS = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram}
