"""A build on Ray writes the bytes of a build without it. Most tests run its tasks under a stand-in that hands everything over as bytes and
runs the tasks of a wave backwards; the last ones, which are slow, run them on Ray itself."""

import gzip
import json
import os
import pickle
import signal
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.sentences import sentence

from rootstock.core.artifact import digest_folder
from rootstock.core.errors import DataError, Interrupted, RunFailed, UnknownName, UsageError
from rootstock.core.watch import Watch
from rootstock.corpus import build, engine, on_ray, pipeline, sources
from rootstock.corpus.pipeline import CorpusSettings
from rootstock.corpus.record import Record
from rootstock.corpus.texts import LONGEST, Broken, broken


def page(seed):
    return f"<html><body><article><p>{sentence(seed)}.</p><p>{sentence(seed + 1)}.</p></article></body></html>".encode()


def crawl():
    """A crawl of five pages, one of them missing."""
    records = []
    for i in range(5):
        block = f"HTTP/1.1 {'404' if i == 3 else '200'} X\r\nContent-Type: text/html\r\n\r\n".encode() + page(300 + 2 * i)
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://e.org/{i}\r\nContent-Length: {len(block)}\r\n\r\n"
        records.append(gzip.compress(head.encode() + block + b"\r\n\r\n"))
    return b"".join(records)


@pytest.fixture
def raw(tmp_path):
    """Every kind of source, with copies, near copies, broken records, personal data and what evaluation files hold."""
    folder = tmp_path / "raw"
    folder.mkdir()
    lines = [json.dumps({"text": sentence(i)}) for i in range(30)]
    lines[5], lines[11] = "{broken", json.dumps({"text": sentence(2)})
    lines[21] = json.dumps({"text": sentence(4, 39) + " otherwise"})
    lines[25] = json.dumps({"text": f"write to jane.roe@example.org about {sentence(25)}"})
    (folder / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for i in range(100, 104):
        (folder / f"b{i}.txt").write_text(sentence(i))
    (folder / "c.txt").write_bytes(b"\x00\x01")
    (folder / "d.html").write_bytes(page(200))
    (folder / "e.md").write_text(f"# A heading\n\n{sentence(210)}")
    (folder / "f.warc.gz").write_bytes(crawl())
    (folder / "g.csv").write_text(f"text,n\n{sentence(220)},1\nragged\n{sentence(3).upper()},2\n")
    pq.write_table(pa.table({"text": [sentence(230), None, sentence(100)]}), folder / "h.parquet")
    (tmp_path / "test.csv").write_text(f"text,label\n{sentence(7)},a\n{sentence(102)},b\n{sentence(900)},a\n")
    (tmp_path / "block.txt").write_text(f"{sentence(9).split()[3]}\n")
    more = {"decontaminate": (str(tmp_path / "test.csv"),), "block_list": str(tmp_path / "block.txt")}
    return {"sources": (str(folder / "a.jsonl.gz"), str(folder)), **more}


class Dataset:
    """Stands in for a data set of Ray: a task a block, backwards, each with its own copy of what it is given."""

    def __init__(self, blocks, ray):
        self.blocks, self.ray = blocks, ray
        self.context = SimpleNamespace(execution_options=SimpleNamespace(preserve_order=False))

    def map_batches(self, function, *, fn_kwargs, **more):
        assert more == {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True}
        made = {}
        for number in reversed(range(len(self.blocks))):
            given = pickle.dumps((self.blocks[number], fn_kwargs))
            try:
                made[number] = function(*pickle.loads(given)[:1], **pickle.loads(given)[1])
            except Exception as error:
                raise self.ray.exceptions.RayTaskError(pickle.loads(pickle.dumps(error))) from None
        return Dataset([made[number] for number in range(len(self.blocks))], self.ray)

    def materialize(self):
        return self

    def select_columns(self, names):
        return Dataset([block.select(names) for block in self.blocks], self.ray)

    def take_all(self):
        return [row for block in self.blocks for row in block.to_pylist()]

    def iter_batches(self, **more):
        yield from self.blocks


class Rows(list):
    """Stands in for an Arrow block with Python objects in it, which only Ray can make."""

    def to_pylist(self):
        return list(self)


@pytest.fixture
def ray(monkeypatch):
    """Stands in for Ray, with one core."""

    class RayTaskError(Exception):
        def __init__(self, cause):
            super().__init__("Traceback …")
            self.cause = cause

    made = SimpleNamespace(exceptions=SimpleNamespace(RayError=RayTaskError, RayTaskError=RayTaskError), cores=1)
    made.put, made.get = pickle.dumps, pickle.loads
    made.is_initialized, made.cluster_resources = (lambda: True), (lambda: {"CPU": float(made.cores)})
    made.data = SimpleNamespace(from_items=lambda rows, override_num_blocks: Dataset([Rows([row]) for row in rows], made))
    monkeypatch.setattr(on_ray, "needed", lambda *given, **more: made)
    return made


def built(raw, out, how, **more):
    return build.build(CorpusSettings(**raw, engine=how), out, **{"watch": Watch()} | more)


@pytest.mark.parametrize(("documents", "wave"), [(7, 1), (5, 3), (4000, 4)])
def test_the_bytes_are_those_of_a_local_build(raw, tmp_path, monkeypatch, ray, documents, wave):
    record = built(raw, tmp_path / "local", "local")
    dropped = {line["name"]: sum(line["dropped"].values()) for line in record["steps"]}
    assert all(dropped[name] for name in ("read", "exact-duplicates", "block-list", "decontamination", "near-duplicates")), dropped
    assert record["covered"][raw["decontaminate"][0]]["found"] == 2
    monkeypatch.setattr(build, "PART_DOCUMENTS", documents)
    monkeypatch.setattr(on_ray, "_WAVE", wave)
    assert built(raw, tmp_path / "ray", "ray") == record
    assert digest_folder(tmp_path / "ray") == digest_folder(tmp_path / "local")


@pytest.mark.parametrize("engines", [("ray", "ray"), ("ray", "local"), ("local", "ray")])
def test_either_engine_goes_on_where_one_stopped(raw, tmp_path, monkeypatch, ray, engines):
    built(raw, tmp_path / "straight", "local")
    monkeypatch.setattr(build, "PART_DOCUMENTS", 6)
    asked, said = [], []
    with pytest.raises(Interrupted, match="same command"):
        built(raw, tmp_path / "out", engines[0], watch=Watch(stop=lambda: asked.append(1) or len(asked) == 2))
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 2  # of a wave of four
    built(raw, tmp_path / "out", engines[1], watch=Watch(say=said.append))
    assert "resumed   after 2 parts" in said
    assert digest_folder(tmp_path / "out") == digest_folder(tmp_path / "straight")
    built(raw, tmp_path / "out", "ray", watch=Watch(say=said.append))
    assert "already" in said[-1]


def test_a_task_needs_no_file_and_knows_no_other_text(raw, tmp_path):
    stages = pipeline.stages(CorpusSettings(**raw))
    steps = engine.Steps.of(stages, None)
    texts = [sentence(1), f"{sentence(8)} {sentence(7)}", None]
    batch = [Record(f"{place}", place, text, None if text else "broken") for place, text in enumerate(texts)]
    first = steps.look(batch, 0)
    assert steps.settle(first.marks)[0] == [None, None]
    sent = pickle.dumps(steps.without_memory())
    for name in (*raw["decontaminate"], raw["block_list"]):
        Path(name).unlink()
    for _ in range(2):
        there = pickle.loads(sent)
        looked = there.look(batch, 0)
        assert looked.lines == first.lines
        assert there.settle(looked.marks)[0] == [None, None]
        finished = there.finish(looked, [None, None])
        assert finished.documents.column("id").to_pylist() == ["0"]
        assert finished.arrays["decontamination"].tolist() == [0]
    assert steps.settle(first.marks)[0] == ["exact duplicate"] * 2


def test_raw_records_travel_and_give_the_same_records(raw):
    for reference in raw["sources"]:
        straight = list(sources.records(reference))
        sent = pickle.dumps(list(sources.raw(reference, start=1)))
        assert [each.read() for each in pickle.loads(sent)] == straight[1:]
        assert all(each.size >= len(record.text or "") for each, record in zip(sources.raw(reference), straight, strict=True))
    long = broken(":1", Broken("too long: a line", b"x" * LONGEST))
    assert len(pickle.dumps(long)) < 4000


def test_a_machine_with_other_libraries_is_refused(raw, tmp_path, monkeypatch, ray):
    here = engine.libraries()
    told = chain([here | {"ftfy": "0.1"}] * 2, repeat(here))  # both batches are looked at first
    monkeypatch.setattr(on_ray, "libraries", lambda: next(told))
    with pytest.raises(UsageError, match=r"a machine of the cluster has ftfy 0\.1, this one") as refused:
        built(raw, tmp_path / "out", "ray")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out" / "manifest.json").exists()


NO_GOFER = UnknownName("step", "gofer", ["gopher"])
FAILURES = [(NO_GOFER, UnknownName, "no step named 'gofer'"), (ValueError("odd\nvalue"), RunFailed, "finish a task: ValueError: odd\n")]


@pytest.mark.parametrize(("thrown", "met", "said"), FAILURES)
def test_what_fails_in_a_task_is_told(raw, tmp_path, monkeypatch, ray, thrown, met, said):
    def fail(*_):
        raise thrown

    monkeypatch.setattr(engine.Steps, "finish", fail)
    with pytest.raises(met, match=said) as told:
        built(raw, tmp_path / "out", "ray")
    assert told.value.fix


def test_without_ray_the_message_says_what_to_install(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    for attempt in (build.rehearse, lambda settings, out: build.build(settings, out, Watch())):
        with pytest.raises(UsageError, match="the engine ray needs the package ray") as told:
            attempt(CorpusSettings(**raw, engine="ray"), tmp_path / "out")
        assert "pip install 'rootstock[cluster]'" in told.value.fix
        assert told.value.exit_code == 2
    with pytest.raises(UsageError, match="engine is rey") as told:
        CorpusSettings.build({**raw, "engine": "rey"}, "")
    assert "ray" in told.value.fix


def test_the_engine_is_no_part_of_what_is_built(raw, tmp_path):
    settings = CorpusSettings(**raw, engine="ray")
    assert settings.decisive() == CorpusSettings(**raw).decisive()
    assert "engine" not in settings.decisive()
    assert settings.plain() == settings.decisive() | {"engine": "ray"}


class Started:
    """What of Ray starts and stops."""

    def __init__(self, error=None):
        self.error, self.given, self.down = error, None, 0

    def is_initialized(self):
        return False

    def init(self, **given):
        self.given = given
        signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray does
        if self.error:
            raise self.error

    def shutdown(self):
        self.down += 1


@pytest.fixture
def started(monkeypatch):
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    made = Started()
    monkeypatch.setattr(on_ray, "needed", lambda *given, **more: made)
    monkeypatch.setattr(on_ray, "_knock", lambda address: None)
    before = dict(os.environ)
    yield made
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name)


def test_ray_is_started_here_for_nobody_else_and_stopped(started):
    before = signal.getsignal(signal.SIGTERM)
    with on_ray.session() as ray:
        assert ray is started
        assert started.given["address"] == "local"
        assert not started.given["include_dashboard"]
        assert signal.getsignal(signal.SIGTERM) is before
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert started.down == 1
    with pytest.raises(DataError), on_ray.session():
        raise DataError("in the build")
    assert started.down == 2


def test_a_later_start_has_the_token_of_the_first(started, monkeypatch):
    """Ray itself reads it once in a process."""
    told = []
    for _ in range(2):
        with on_ray.session():
            told.append(os.environ["RAY_AUTH_TOKEN"])
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.delenv("RAY_AUTH_MODE")
    assert told[0] == told[1]


def test_the_users_own_cluster_and_wishes_are_kept(started, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with on_ray.session():
        assert started.given["address"] == "10.0.0.7:6379"
        assert "num_cpus" not in started.given  # a cluster that runs refuses them
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
        assert "RAY_AUTH_TOKEN" not in os.environ
    started.is_initialized = lambda: True
    with on_ray.session():
        pass
    assert started.down == 1  # what was up before stays up


@pytest.mark.parametrize(
    ("address", "met", "said"), [("127.0.0.1:1", UsageError, "correct RAY_ADDRESS"), ("", RunFailed, "leave --engine out")]
)
def test_ray_that_does_not_come_up(started, monkeypatch, address, met, said):
    monkeypatch.undo()
    started.error = Exception("timed out during startup")  # as Ray does
    monkeypatch.setattr(on_ray, "needed", lambda *given, **more: started)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(met) as told, on_ray.session():
        pass
    assert said in told.value.fix
    assert started.given is None or not address  # a closed port is met before Ray waits for it


@pytest.fixture(scope="module")
def real():
    """Ray itself, once for the tests below."""
    if find_spec("ray") is None:  # imported here it would not yet know that tokens are asked for
        pytest.skip("needs the extra cluster")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(build.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
        with on_ray.session() as ray:
            yield ray
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_itself_writes_the_bytes_of_a_local_build(raw, tmp_path, monkeypatch, real, capfd):
    built(raw, tmp_path / "local", "local")
    monkeypatch.setattr(build, "PART_DOCUMENTS", 6)
    asked = []
    with pytest.raises(Interrupted):
        built(raw, tmp_path / "ray", "ray", watch=Watch(stop=lambda: asked.append(1) or len(asked) == 3))
    built(raw, tmp_path / "ray", "ray")
    assert digest_folder(tmp_path / "ray") == digest_folder(tmp_path / "local")
    assert real.is_initialized()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_in_a_task_of_ray_arrives_as_itself(raw, tmp_path, real, capfd):
    def thrown(block):
        raise NO_GOFER

    data = real.data.from_items([1])
    data.context.raise_original_map_exception = True
    with pytest.raises(UnknownName) as told, on_ray._errors(real):
        data.map_batches(thrown).materialize()
    assert str(told.value) == str(NO_GOFER)
    assert capfd.readouterr() == ("", "")
