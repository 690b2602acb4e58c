"""Shared: one torch thread (tiny tensors: threads cost more than they give), a cache of their own, tiny bases and tables.

What is heavy is imported in functions: the process that only hands tests to its workers reads this file before it starts them.
"""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import csv
import gc
import itertools
import json
import socket
from pathlib import Path

import pytest

gc.disable()  # until all is collected: what is imported stays, and Python would look through it time and again


TRIED = {"share": 4}


def pytest_configure(config):
    """The long suite names a profile of hypothesis, and tries every example."""
    if config.getoption("--hypothesis-profile", default=None):
        TRIED["share"] = 1


def examples(count):
    """How many of `count` examples are tried: a quarter in the quick suite."""
    return count // TRIED["share"]


def pytest_collection_finish():
    """What there is by now stays to the end: no collection of garbage has to look through it."""
    import torch

    torch.set_num_threads(1)
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # at Python's own 700 a run spends a twenty-fifth of its time on looking for garbage
    gc.enable()


WORDS = [
    "good",
    "great",
    "fine",
    "lovely",
    "warm",
    "bad",
    "poor",
    "dull",
    "awful",
    "cold",
    "a",
    "the",
    "film",
    "book",
    "song",
    "very",
    "quite",
    "not",
    "is",
    "was",
]


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Places that nobody has written to yet, one after the other: pytest's own numbering reads all earlier names each time."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches, monkeypatch):
    """No test reads what another (or the user) left in the cache or in the ledger of plans, nor writes there."""
    place = next(caches)
    monkeypatch.setenv("ROOTSTOCK_CACHE", str(place))
    monkeypatch.setenv("ROOTSTOCK_LEDGER", str(place / "plans.jsonl"))


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    """No test cuts the power: in this process nothing waits until a file is on the disk itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_looking_for_freed_memory():
    """What hundreds of tests left in this process would be looked through at every measurement, for longer than that takes."""
    from rootstock.run import measure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "give_back", lambda: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def short_pages():
    """To write plotly's five megabytes into the page of every run, and to take its digest, is a twentieth of what a run here takes.
    Gives what stood there, for tests that draw the charts."""
    from rootstock.report import charts

    with pytest.MonkeyPatch.context() as patch:
        whole = charts.library
        patch.setattr(charts, "library", lambda: "/* plotly.js: whole in tests/report */")
        yield whole


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test, and nothing that it runs in this process, asks another machine: the promise that nothing is sent to anybody."""
    met = []

    def guarded(real):
        def connect(self, address):
            if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
                met.append(address)
                raise ConnectionRefusedError(f"a test asked for {address}")
            return real(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    yield
    assert not met, f"asked for {met}"


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, or a skip."""
    folder = Path(os.environ.get("ROOTSTOCK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ROOTSTOCK_DATA")
    return folder


def make_tokenizer(words=tuple(WORDS)):
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def make_base(folder, family="bert", **changes):
    """A tiny checkpoint without a head, with its tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 32,
        "max_position_embeddings": 66,
    } | changes
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "llama": (transformers.LlamaConfig, transformers.LlamaModel),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3Model),
        "distilbert": (transformers.DistilBertConfig, transformers.DistilBertModel),
        "deberta-v2": (transformers.DebertaV2Config, transformers.DebertaV2Model),
        "modernbert": (transformers.ModernBertConfig, transformers.ModernBertModel),
    }[family]
    if family == "distilbert":
        renamed = {
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
        }
        shape = {renamed.get(key, key): value for key, value in shape.items()}
    if family == "modernbert":
        shape |= {f"{name}_token_id": number for name, number in (("cls", 2), ("bos", 2), ("sep", 3), ("eos", 3))}
    model(config(**shape, pad_token_id=0)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A two-layer BERT of 32 dimensions."""
    return make_base(tmp_path_factory.mktemp("base"))


def rows_of(count, seed=0):
    """Texts whose label is the one word that tells."""
    import random

    rng = random.Random(seed)
    rows = []
    for i in range(count):
        good = i % 2 == 0
        told = rng.choice(WORDS[:5] if good else WORDS[5:10])
        filler = [rng.choice(WORDS[10:]) for _ in range(rng.randint(2, 9))]
        filler.insert(rng.randrange(len(filler)), told)
        rows.append((" ".join(filler), "positive" if good else "negative"))
    return rows


def write_csv(path, rows, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def reviews(tmp_path):
    """A CSV of 120 texts with two labels."""
    return write_csv(tmp_path / "reviews.csv", rows_of(120))


USUAL = {"method": "full", "training": {"epochs": 4, "rate": 3e-3, "batch_tokens": 64}}
ONCE = USUAL["training"] | {"epochs": 1, "batch_tokens": 128}
"""For a run that need not have learned much: most of what it takes is spent before and after."""


@pytest.fixture
def adapt(tiny_base, reviews, tmp_path):
    """adapt() on the tiny base and the reviews; keyword arguments override."""
    import rootstock

    def run(out="run", **more):
        return rootstock.adapt(more.pop("data", reviews), out=tmp_path / out, **({"base": str(tiny_base)} | USUAL | more))

    return run


@pytest.fixture(scope="session")
def learned(tiny_base, tmp_path_factory):
    """The finished run that `adapt` makes of these arguments, trained once for all tests that ask for it: nobody changes it."""
    import rootstock
    from rootstock.core.artifact import digest_folder

    made = {}

    def run(**more):
        key = json.dumps(more, sort_keys=True, default=repr)
        if key not in made:
            place = tmp_path_factory.mktemp("learned")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ROOTSTOCK_CACHE", str(place / "cache"))
                patch.setenv("ROOTSTOCK_LEDGER", str(place / "plans.jsonl"))
                data = write_csv(place / "reviews.csv", rows_of(120))
                path = rootstock.adapt(data, base=str(tiny_base), out=place / "run", **(USUAL | more)).path
            made[key] = path, digest_folder(path)
        return rootstock.Run(made[key][0])

    yield run
    assert all(digest_folder(path) == left for path, left in made.values()), "a test has changed what others read"
