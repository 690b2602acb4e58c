import json
import re
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import WORDS, make_tokenizer, rows_of, write_csv

from rootstock.bases import load as bases
from rootstock.bases.resolve import resolve
from rootstock.core.errors import ContractRefused, DataError, Interrupted, LedgerRefused, UnknownName, UsageError
from rootstock.core.recipe import Recipe
from rootstock.core.watch import Watch
from rootstock.planning.compute import Budget, Cost
from rootstock.report import compare as page
from rootstock.report.compare_text import as_text
from rootstock.verbs import compare, compare_bases, compare_overlap, compare_plan, compare_settle, compare_transfer

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
T5 = {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "n_positions": 64}
CBOW = {"model_type": "rootstock-cbow", "hidden_size": 16}


def config(folder, name, values):
    path = folder / name / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return str(path)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A corpus of 60 documents, a labelled file of 150 rows, a tokenizer without sentinels, and two architectures."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps({"text": " ".join(rng.choice(WORDS, 30))}) for _ in range(60)))
    make_tokenizer().save_pretrained(folder / "tok")
    return {
        "corpora": (str(corpus),),
        "downstream": {"reviews": str(write_csv(folder / "reviews.csv", rows_of(150)))},
        "architectures": {"masked-lm": config(folder, "bert", BERT), "cbow": config(folder, "cbow", CBOW)},
        "tokenizer": folder / "tok",
        "budget": Budget("tokens", 4000),
        "rows": (40,),
        "seeds": 1,
        "changes": {"training.epochs": 2},
        "rates": (1e-2,),
    }


def plan(given, **changes):
    return compare_plan.Plan(**{**given, **changes})


@pytest.fixture(scope="module")
def done(given, tmp_path_factory):
    """A comparison that was killed after its first adaptation and gone on with, and how often each run was carried out."""
    out, carried = tmp_path_factory.mktemp("out") / "compare", []
    patch = pytest.MonkeyPatch()
    patch.setenv("ROOTSTOCK_CACHE", str(out.parent / "cache"))
    real = compare_transfer.carried_out

    def counting(recipe, place, watch):
        if len(carried) == 3 and "killed" not in carried:
            carried.append("killed")
            raise Interrupted("killed")
        carried.append(place.name)
        return real(recipe, place, watch)

    patch.setattr(compare_transfer, "carried_out", counting)
    with pytest.raises(Interrupted):
        compare.compare(plan(given), out, Watch())
    assert not (out / "compare.json").exists()
    found = compare.compare(plan(given), out, Watch())
    patch.undo()
    return out, found, carried


def test_a_killed_comparison_goes_on_and_adapts_nothing_twice(done):
    out, found, carried = done
    adapted = [name for name in carried if "-40-0-" in name]
    assert sorted(adapted) == sorted(set(adapted))
    assert len(adapted) == 4
    assert found == json.loads((out / "compare.json").read_text())
    assert not list((out / "runs").iterdir()), "an adapted model is not kept once its answers are"
    tried = json.loads((out / "state.json").read_text())["tried"]
    assert [mark.partition(",")[0] for mark in tried] == ["bert", "cbow"], "each architecture took a step before any was pre-trained"


def test_gains_are_differences_of_means_on_rows_that_no_run_saw(done):
    out, found, _ = done
    assert found["tasks"]["reviews"]["test_rows"] == 30
    pool, test = (
        compare_transfer.source.read(str(out / "data" / "reviews" / f"{side}.parquet"), _data(out)).table for side in ("pool", "test")
    )
    assert not set(pool.column("text").to_pylist()) & set(test.column("text").to_pylist())
    for each in found["gains"]:
        assert each["gain"] == pytest.approx(np.mean(each["pretrained"]) - np.mean(each["scratch"]))
        assert each["interval"][0] <= each["gain"] <= each["interval"][1]
    assert {each["objective"] for each in found["gains"]} == {"masked-lm", "cbow"}
    ahead = found["ahead"][0]
    assert ahead["value"] == max(np.mean(each["pretrained"]) for each in found["gains"])
    assert set(found["baselines"]["reviews"]["40"]) == {"majority", "tfidf"}
    for name, (low, high) in found["baseline_intervals"]["reviews"]["40"].items():
        assert low < found["baselines"]["reviews"]["40"][name] < high
    assert ahead["interval"][0] < ahead["value"] < ahead["interval"][1]
    assert all(each["intervals"]["loss"][0] < each["loss"] for each in found["objectives"].values())


def _data(out):
    from rootstock.core.recipe import DataSettings

    return DataSettings(train=str(out))


def test_every_objective_read_the_same_tokens_and_its_flops_are_those_of_the_formula(done):
    _, found, _ = done
    bert, cbow = found["objectives"]["masked-lm"], found["objectives"]["cbow"]
    # A layer: four projections, two of the feed-forward part, their biases, two norms; then the head's dense layer and norm.
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16
    assert bert["body"] == layer + 2 * 16 + 16 * 16 + 16 + 2 * 16
    assert bert["output"] == (25 + 100) * 16, "the words, and the sentinels that the tokenizer got"
    assert 0.08 < bert["guessed"] < 0.22
    assert bert["flops_per_token"] == pytest.approx(6 * (bert["body"] + bert["guessed"] * bert["output"]))
    assert cbow["body"] == 0
    assert cbow["output"] == 6 * 16, "the true token and five drawn ones"
    for held in (bert, cbow):
        assert held["flops"] == pytest.approx(held["tokens"] * held["flops_per_token"])
        assert held["tokens"] == pytest.approx(4000, rel=0.25)


def test_a_decoder_counts_for_the_tokens_that_it_writes(given, tmp_path, monkeypatch):
    def run(training):
        for seconds, tokens in ((9, 100), (2, 100), (4, 200)):
            training.job.note({"event": "step", "seconds": seconds, "tokens": tokens})

    monkeypatch.setattr(compare_bases.Training, "run", run)
    compare_bases.one_tokenizer(given["corpora"], given["tokenizer"], tmp_path / "tok", None, lambda text: None)
    values = {
        "base": f"scratch:{config(tmp_path, 't5', T5)}",
        "tokenizer": str(tmp_path / "tok"),
        "task": {"name": "span-corruption"},
        "data": {"train": given["corpora"][0]},
    }
    found = compare_bases.measured(Recipe.build(values, ""), Watch())
    attention, feed, norm = 4 * 16 * 16, 2 * 16 * 32, 16
    assert found.body == attention + feed + 3 * norm
    assert found.decoder == 2 * attention + feed + 4 * norm
    assert found.output == 125 * 16
    assert 0.15 < found.guessed < 0.5
    assert found.seconds == pytest.approx(6 / 300), "all but the first update, which also warms up"


def test_the_page_and_the_text_say_the_same(done):
    _, found, _ = done
    html, told = page.render(found), as_text(found)
    for each in found["gains"]:
        gain = f"{each['gain']:+.3f}"
        assert gain in told
        assert gain in html
    wanted = ["6 x (N_body", "reviews with 40 rows", "0 of 30 test rows stand in the pre-training corpus"]
    for each in (*wanted, "f 2 intervals at 95 %, about 0.1 would leave zero out by chance alone"):
        assert each in told
        assert each in html


def test_objectives_that_could_not_spend_the_same_are_said(done):
    """A budget of an update and a half is one for this and two for that: not the equal compute that the first line speaks of."""
    _, found, _ = done
    amount = {name: held["tokens"] for name, held in found["objectives"].items()}
    even = found | {"budget": found["budget"] | {"kind": "tokens", "amount": amount["masked-lm"]}}
    even["objectives"] = {name: held | {"tokens": amount["masked-lm"], "capped": False} for name, held in found["objectives"].items()}
    assert "equal compute" not in as_text(even) + page.render(even)
    odd = even | {"objectives": even["objectives"] | {"cbow": even["objectives"]["cbow"] | {"tokens": amount["masked-lm"] / 2}}}
    for told in (as_text(odd), page.render(odd)):
        assert "Not at equal compute, of the budget spent: cbow 0.50; whole updates only" in told


def test_going_on_with_another_budget_is_refused_and_more_rows_are_not(done, given):
    out, found, _ = done
    with pytest.raises(UsageError, match="another budget"):
        compare.compare(plan(given, budget=Budget("tokens", 9000)), out, Watch())
    with pytest.raises(UsageError, match="another --set"):
        compare.compare(plan(given, changes={}), out, Watch())
    with pytest.raises(UsageError, match="another architecture for cbow"):
        compare.compare(plan(given, architectures={"cbow": config(out.parent, "cbow", CBOW | {"hidden_size": 8})}), out, Watch())
    small = config(out.parent, "bert", BERT | {"max_position_embeddings": 32})
    with pytest.raises(UsageError, match="takes 32 tokens of a row, and 64 are compared"):
        compare.compare(plan(given, architectures={"next-sentence": small}), out, Watch())
    written = {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.parquet")}
    more = compare.compare(plan(given, rows=(40, 60)), out, Watch())
    assert written == {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.parquet")}
    assert [each["rows"] for each in more["ahead"]] == [40, 60]
    assert [each for each in more["gains"] if each["rows"] == 40] == found["gains"]


@pytest.mark.parametrize("which", ["reviews.csv", "corpus.jsonl", "bert/config.json"])
def test_going_on_with_a_changed_file_is_refused(done, given, which):
    path = next(Path(each) for each in plan(given).inputs if each.endswith(which))
    before = path.read_bytes()
    changes = {"reviews.csv": b"a film,positive\n", "corpus.jsonl": b'\n{"text": "one more"}', "bert/config.json": b" "}
    path.write_bytes(before + changes[which])
    try:
        with pytest.raises(UsageError, match=r"another (downstream file|corpus|architecture for masked-lm)"):
            compare.rehearse(plan(given), done[0], Watch())
    finally:
        path.write_bytes(before)


def test_test_rows_that_were_changed_are_refused(done, given, tmp_path):
    copy = shutil.copytree(done[0], tmp_path / "copy")
    (copy / "data" / "reviews" / "test.parquet").write_bytes((copy / "data" / "reviews" / "pool.parquet").read_bytes())
    with pytest.raises(ContractRefused, match=r"test\.parquet"):
        compare.compare(plan(given), copy, Watch())


def test_what_is_begun_again_in_vain_leaves_what_was_there(done, given):
    before = sorted(str(path) for path in done[0].parent.rglob("*"))
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        compare.compare(plan(given, downstream={"nowhere": "nowhere.csv"}), done[0], Watch(), overwrite=True)
    assert sorted(str(path) for path in done[0].parent.rglob("*")) == before


def test_every_base_reads_as_much_of_a_row_as_the_one_that_reads_least(done, given, tmp_path):
    shutil.copytree(done[0] / "tokenizer", tmp_path / "tokenizer")
    small = config(tmp_path, "small", BERT | {"max_position_embeddings": 32})
    architectures = given["architectures"] | {"next-sentence": small}
    empty = {"length": 0}
    held = compare_settle.Settled(plan=plan(given, architectures=architectures), folder=tmp_path, state=empty, downstream=(), shares={})
    assert compare_settle._length(held) == 32
    asked = replace(held, plan=plan(given, architectures=architectures, changes={"training.length": 20}))
    assert compare_settle._length(asked) == 20
    what = {"arm": "a", "folder": tmp_path, "downstream": _downstream(), "rows": None, "seed": 0, "changes": {}, "rates": (1e-3,)}
    assert compare_transfer.Unit(**what, base="scratch:bert-tiny", length=32).recipe(1e-3).training.length == 32


def _downstream():
    return compare_transfer.Downstream(name="x", task="regression", pair=False, pool_rows=9, test_rows=9, files={})


def test_of_the_minutes_what_was_spent_already_is_taken_off(given, tmp_path):
    cost = Cost(body=1000, decoder=0, output=0, guessed=0, seconds=1e-3, update=100, corpus=1e9)
    state = {"costs": dict.fromkeys(given["architectures"], asdict(cost)), "budget": {}}
    asked = plan(given, budget=Budget("seconds", 1000))
    held = compare_settle.Settled(plan=asked, folder=tmp_path, state=state, downstream=(), shares={})
    found = compare_settle._shared_out(held, Watch(started=time.monotonic() - 600))
    assert sum(share.seconds for share in found.values()) == pytest.approx(400, abs=2)


def test_test_rows_are_looked_for_in_the_corpus(tmp_path):
    rng = np.random.default_rng(0)
    long = [" ".join(rng.choice(WORDS, 20)) for _ in range(40)]
    tests = {"long": long, "short": ["a film", "a book"]}
    for name, texts in tests.items():
        pq.write_table(pa.table({"text": texts, "label": ["x"] * len(texts)}), tmp_path / f"{name}.parquet")
    cut = [" ".join(long[row].split()[:words]) for row, words in ((9, 14), (8, 12))]
    corpus = [*(f"They said: {text.upper()}!" for text in long[:3]), *cut, "a film"]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in corpus))
    files = {name: (tmp_path / f"{name}.parquet", len(texts)) for name, texts in tests.items()}
    found = compare_overlap.met(files, [str(tmp_path / "corpus.jsonl")], "body")
    assert found == {"long": {"contaminated": 4, "of": 40, "checked": 40}, "short": {"contaminated": 0, "of": 2, "checked": 0}}
    with pytest.raises(LedgerRefused, match=r"4 of 40 test rows(.|\n)*--decontaminate long\.csv"):
        compare_overlap.refuse(found, {"long": "long.csv", "short": "short.csv"}, ())
    compare_overlap.refuse(found, {"long": "long.csv"}, ("overlap",))
    compare_overlap.refuse({"long": {"contaminated": 1, "of": 100, "checked": 100}}, {}, ())


def test_of_the_rates_that_counts_which_is_best_on_the_validation_rows(given, tmp_path, monkeypatch):
    class Task:
        def merit(self, figures):
            return (figures["accuracy"],)

        def metrics(self, columns):
            return {}

        def judged(self, columns):
            return columns

        def answers(self, rows):
            return np.zeros(len(rows))

    class Run:
        def __init__(self, rate, place):
            self.task, self.path = Task(), place
            self.metrics = {"metrics": {"accuracy": {2e-4: 0.7, 1e-3: 0.9, 5e-3: 0.8}[rate]}}
            self.recipe = Recipe.build({"data": {"train": "x"}, "task": {"name": "text-classification"}}, "")
            place.mkdir(parents=True)

    chosen = []
    Run.predictions = lambda self, rows: chosen.append(self.path.name) or type("P", (), {"columns": {"scores": np.zeros((len(rows), 2))}})
    monkeypatch.setattr(compare_transfer, "carried_out", lambda recipe, place, watch: Run(recipe.training.rate, place))
    found = compare_transfer.source.read(given["downstream"]["reviews"], _data(tmp_path))
    held = compare_transfer.divided("reviews", found, tmp_path, columns={}, unlabelled=False)
    what = {"arm": "a", "base": "scratch:bert-tiny", "folder": tmp_path, "downstream": held, "rows": None, "seed": 0}
    unit = compare_transfer.Unit(**what, length=64, changes={}, rates=(2e-4, 1e-3, 5e-3))
    compare_transfer.answered(unit, Watch())
    assert chosen == ["a-reviews-all-0-0.001"]
    assert json.loads((tmp_path / "answers" / "a" / "reviews" / "all-0.json").read_text())["rate"] == 1e-3
    assert not list((tmp_path / "runs").iterdir())


def test_labels_that_few_rows_lack_are_found_before_anything_is_spent(given, tmp_path):
    many = [(text, f"label {number % 15}") for number, (text, _) in enumerate(rows_of(150))]
    file = write_csv(tmp_path / "many.csv", many)
    with pytest.raises(DataError, match=r"10 rows of many \(seed 0\) do not hold every label"):
        compare.compare(plan(given, downstream={"many": str(file)}, rows=(10,)), tmp_path / "out", Watch())
    assert {each.name for each in tmp_path.iterdir()} == {"many.csv"}, "what was prepared is whole or absent"


@pytest.mark.parametrize("names", [("mine.txt",), ("data", "runs", "answers"), ("state.json",)], ids=",".join)
def test_a_folder_that_is_no_comparison_is_not_touched(given, tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("{}")
    for begin in (compare.compare, compare.rehearse):
        with pytest.raises(UsageError, match=names[0].replace("data", "answers")):
            begin(plan(given), tmp_path, Watch(), overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(names)


def test_a_tokenizer_gets_what_a_family_needs_and_keeps_its_ids(given, tmp_path):
    said = []
    compare_bases.one_tokenizer((), given["tokenizer"], tmp_path / "tok", None, said.append)
    tokens = bases.tokenizer(resolve("scratch:bert-tiny", tokenizer=tmp_path / "tok"))
    before = make_tokenizer().get_vocab()
    assert {word: tokens.get_vocab()[word] for word in before} == before
    assert tokens.convert_tokens_to_ids("<extra_id_99>") not in (None, tokens.unk_token_id)
    assert tokens.convert_tokens_to_ids("<extra_id_0>") in tokens.all_special_ids
    assert re.search("extra_id_0", said[0])


@pytest.mark.parametrize(
    ("objectives", "size", "wanted"),
    [
        (["masked-lm", "causal-lm", "cbow"], "tiny", {"masked-lm": "bert-tiny", "causal-lm": "gpt2-tiny", "cbow": "cbow"}),
        (["span-corruption", "bidirectional-lm"], "mini", {"span-corruption": "t5-4x256", "bidirectional-lm": "elmo-small"}),
        (["causal-lm=llama-tiny"], "small", {"causal-lm": "llama-tiny"}),
    ],
)
def test_each_objective_gets_an_architecture_that_suits_it(objectives, size, wanted):
    assert compare_bases.chosen(objectives, size) == wanted


def test_shapes_of_our_own_are_configs_of_the_same_layers_and_width(tmp_path):
    compare_bases.write_shapes(["t5-4x256", "bart-4x512", "bert-mini"], tmp_path)
    assert compare_bases.reference("bert-mini", tmp_path) == "scratch:bert-mini"
    written = (compare_bases.reference(name, tmp_path).removeprefix("scratch:") for name in ("t5-4x256", "bart-4x512"))
    t5, bart = (json.loads(Path(path).read_text()) for path in written)
    assert (t5["num_layers"], t5["num_decoder_layers"], t5["d_model"], t5["num_heads"]) == (4, 4, 256, 4)
    assert (bart["encoder_layers"], bart["decoder_layers"], bart["d_model"], bart["decoder_ffn_dim"]) == (4, 4, 512, 2048)


def test_objectives_of_one_architecture_share_its_arm_from_scratch(tmp_path):
    named = {"masked-lm": "bert-tiny", "next-sentence": "bert-tiny"}
    named |= {"causal-lm": config(tmp_path / "a", "x", BERT), "cbow": config(tmp_path / "b", "x", CBOW)}
    assert compare_bases.arms({name: compare_bases.identity(each) for name, each in named.items()}) == {
        "masked-lm": "scratch-bert-tiny",
        "next-sentence": "scratch-bert-tiny",
        "causal-lm": "scratch-x",
        "cbow": "scratch-x-cbow",
    }


def test_settings_of_pretraining_are_the_same_for_every_objective(given, tmp_path):
    asked = plan(given, pretraining={"training.batch_tokens": 512, "seed": 7})
    for name in given["architectures"]:
        recipe = compare_bases.recipe(asked, name, tmp_path, 5)
        assert (recipe.training.batch_tokens, recipe.seed, recipe.training.steps) == (512, 7, 5)
    for key in ("training.epochs", "task.share", "data.validation"):
        with pytest.raises(UsageError, match=key):
            plan(given, pretraining={key: 1})


def test_what_can_not_be_meant_is_said():
    with pytest.raises(UnknownName, match="did you mean 'masked-lm'"):
        compare_bases.chosen(["maskedlm"], "tiny")
    with pytest.raises(UnknownName, match="bert-tiny"):
        compare_bases.chosen(["masked-lm=bert-tny"], "tiny")
    with pytest.raises(UnknownName, match="mini"):
        compare_bases.chosen(["masked-lm"], "huge")
    with pytest.raises(UsageError, match="one budget"):
        compare_plan.budget(5, "1e12", None)
    with pytest.raises(UsageError, match="1e15"):
        compare_plan.budget(None, "many", None)
    with pytest.raises(UsageError, match="100,500,all"):
        compare_plan.counts("100,few")
    with pytest.raises(UsageError, match="2e-4,1e-3"):
        compare_plan.rates("1e-3,fast")
    with pytest.raises(UsageError, match="masked-lm twice"):
        compare_bases.chosen(["masked-lm", "masked-lm=bert-mini"], "tiny")
    with pytest.raises(UsageError, match="--evolution and --objectives"):
        compare_bases.asked("masked-lm", evolution=True)
    assert compare_plan.rates("1e-3,2e-4") == (1e-3, 2e-4)
    assert compare_plan.counts("100, 500,all,100") == (100, 500, None)
    assert compare_plan.budget(None, None, "5M") == Budget("tokens", 5e6)
    assert compare_plan.budget(None, None, None) == Budget("seconds", 3600)
    with pytest.raises(UsageError, match="names no file"):
        compare_plan.names([])
    with pytest.raises(UsageError, match="masked-lm"):
        compare_bases.chosen([], "tiny")
    with pytest.raises(UsageError, match="twice"):
        compare_plan.names(["a/x.csv", "a/x.csv", "a/x.csv"])
    assert compare_plan.names(["a/x.csv", "b/x.tsv"]) == {"x": "a/x.csv", "b-x": "b/x.tsv"}
