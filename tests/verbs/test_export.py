"""Runs exported: folded and compared, combined and measured, and usable in every verb without their run."""

import json
import shutil
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.conftest import make_base, make_tokenizer, rows_of, write_csv
from tests.tiny_models import causal_model, saved, vit_model, with_bos

import rootstock as rs
from rootstock.bases.combine import Combination
from rootstock.cli.main import app
from rootstock.core.errors import BaseError, ContractRefused, DataError, MergeRefused, UsageError
from rootstock.core.watch import Watch
from rootstock.methods.lora import LoRA
from rootstock.run import suspect
from rootstock.run.opened import open_base
from rootstock.run.served import engine
from rootstock.serving.settings import EngineSettings
from rootstock.tasks.embedding import Embedding
from rootstock.verbs import bias, differences
from rootstock.verbs import export as exporting
from rootstock.verbs.export import Options

QUICK = {"epochs": 1, "rate": 2e-2, "batch_tokens": 64, "precision": "fp32"}


def export(runs, out, **options):
    return exporting.export([run.path for run in runs], "merged", out, Options(**options), lambda text: None)


@pytest.fixture
def lora(learned, tmp_path):
    return rs.Run(shutil.copytree(learned(method="lora", training=QUICK).path, tmp_path / "lora"))


def test_a_folded_adapter_answers_the_same_everywhere(lora, tmp_path, capsys):
    found = export([lora], tmp_path / "plain")
    assert 0 < found["compared"]["largest_move"] < 1e-3
    assert f"{found['compared']['largest_move']:.2g}" in (tmp_path / "plain" / "README.md").read_text()
    table = pq.read_table(lora.path / "predictions.parquet").to_pylist()
    texts = [row["text"] for row in table]
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").eval()
    batch = transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)
    np.testing.assert_allclose(scores[:, 1], [row["p(positive)"] for row in table], atol=1e-4)
    again = rs.Run(tmp_path / "plain")
    assert again.predict(texts) == [row["predicted"] for row in table]
    data = lora.recipe.data.train
    told, own = again.evaluate(data), rs.Run(lora.path).evaluate(data)
    assert told["metrics"] == pytest.approx(own["metrics"], abs=1e-4)
    assert told["leakage"]["overlap_rows"] == own["leakage"]["overlap_rows"] > 0
    grown = rs.adapt(data, base=str(tmp_path / "plain"), method="full", training={"steps": 1}, out=tmp_path / "grown")
    assert grown.recipe.base.endswith("plain")


def test_a_merge_outside_the_tolerance_is_refused_and_writes_nothing(lora, tmp_path, monkeypatch):
    from rootstock.run import merge

    monkeypatch.setattr(merge, "TOLERANCE", -1.0)
    with pytest.raises(MergeRefused, match="move an answer"):
        export([lora], tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize(
    ("method", "error", "said"), [("adapter", MergeRefused, "can't be folded"), ("full", UsageError, "nothing to fold")]
)
def test_what_does_not_fold_is_refused(adapt, tmp_path, method, error, said):
    with pytest.raises(error, match=said):
        export([adapt(method=method, training=QUICK)], tmp_path / "plain")


def test_a_merge_without_its_rows_asks_for_others(adapt, reviews, tmp_path):
    lora, kept = adapt(method="lora", training=QUICK), reviews.read_text()
    write_csv(reviews, rows_of(90, seed=9))
    with pytest.raises(DataError, match="not at hand"):
        export([lora], tmp_path / "plain")
    reviews.unlink()
    with pytest.raises(DataError, match="not at hand"):
        export([lora], tmp_path / "plain")
    (tmp_path / "other.csv").write_text(kept)
    assert export([lora], tmp_path / "plain", rows=str(tmp_path / "other.csv"))["compared"]["rows"] == 120


def tensors(folder):
    return load_file(folder / "model.safetensors")


def test_an_average_is_the_mean_of_whole_weights(adapt, lora, tmp_path):
    full = adapt(training={"epochs": 1, "rate": 1e-3, "batch_tokens": 64, "precision": "fp32"}, out="full", seed=7)
    found = export([lora, full], tmp_path / "both")
    export([lora], tmp_path / "one")
    both, one, other = (tensors(folder) for folder in (tmp_path / "both", tmp_path / "one", full.folder.model))
    for name, held in both.items():
        torch.testing.assert_close(held, (one[name] + other[name]) / 2, atol=1e-6, rtol=1e-5)
    for run, told in zip((lora, full), found["sources"], strict=True):
        assert told["measured"]["alone"]["accuracy"][0] == pytest.approx(run.metrics["metrics"]["accuracy"], abs=1e-6)
        assert told["measured"]["merged"]["accuracy"][0] <= 1
        assert not told["own_head"]
    assert found["sources"][0]["compared"]["largest_move"] < 1e-3
    assert "that run alone" in (tmp_path / "both" / "README.md").read_text()
    assert rs.Run(tmp_path / "both").predict(["a good film"])


def test_runs_that_answer_otherwise_need_a_head_named(adapt, lora, tmp_path):
    rows = [(text, "yes" if label == "positive" else "no") for text, label in rows_of(80, seed=3)]
    other = adapt(method="lora", training=QUICK, data=write_csv(tmp_path / "other.csv", rows), out="other")
    with pytest.raises(ContractRefused, match="digest") as refused:
        export([lora, other], tmp_path / "both")
    assert "negative, positive" in str(refused.value)
    assert "no, yes" in str(refused.value)
    found = export([lora, other], tmp_path / "both", head_from=other.path, combination=Combination(how="ties", density=0.5))
    assert found["head"] == "other"
    assert [each["own_head"] for each in found["sources"]] == [True, False]
    assert set(rs.Run(tmp_path / "both").predict(["a good film", "a bad film"])) <= {"yes", "no"}
    with pytest.raises(UsageError, match="head-from"):
        export([lora, other], tmp_path / "again", head_from=tmp_path)


def test_runs_over_other_bases_are_refused_with_both_digests(adapt, lora, tmp_path):
    make_base(tmp_path / "base", intermediate_size=48)
    other = adapt(method="lora", base=str(tmp_path / "base"), training=QUICK, out="other")
    with pytest.raises(ContractRefused, match=other.contract["base"]["sha256"]) as refused:
        export([lora, other], tmp_path / "both")
    assert lora.contract["base"]["sha256"] in str(refused.value)
    shutil.copytree(lora.path, tmp_path / "copy")
    contract = json.loads((tmp_path / "copy" / "model" / "contract.json").read_text())
    make_tokenizer(("other", "words")).save_pretrained(tmp_path / "copy" / "model")
    alone = tmp_path / "copy" / "model"
    assert contract["tokenizer_sha256"]
    with pytest.raises(ContractRefused, match=contract["tokenizer_sha256"]):
        rs.Run(alone).predict(["a film"])


def test_a_body_with_more_than_its_base_is_refused(adapt, lora, tmp_path):
    other = adapt(method="feature-extraction", training={"epochs": 1}, out="other")
    with pytest.raises(ContractRefused, match="another architecture"):
        export([lora, other], tmp_path / "both")


def test_the_verb_writes_says_and_refuses(lora, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["export", str(lora.path), "--to", "merged", "--json"])
    assert said.exit_code == 0
    assert json.loads(said.stdout)["to"] == "merged"
    plain = tmp_path / f"{lora.path.name}-merged"
    assert (plain / "model.safetensors").is_file(), "without --out it is written here, under the run's name and the form"
    assert "and no folder to write" in str(CliRunner().invoke(app, ["export", str(lora.path), str(lora.path)]).exception)
    for words, error in (
        (["--to", "onyx"], "--to onyx"),
        (["--weights", "a,b"], "--weights"),
        ([], "is there already"),
        (["--combine", "ties"], "several"),
    ):
        place = tmp_path / "new" if words else plain
        found = CliRunner().invoke(app, ["export", str(lora.path), "--out", str(place), *words])
        assert error in str(found.exception)


# An adapter that travels without its run


@pytest.fixture
def alone(lora, tmp_path):
    shutil.copytree(lora.folder.model, tmp_path / "alone")
    return tmp_path / "alone"


def test_an_adapter_alone_serves_every_verb(lora, alone, tiny_base, reviews, tmp_path):
    run = rs.Run(alone)
    assert run.predict(["a good film"]) == rs.Run(lora.path).predict(["a good film"])
    found = run.evaluate(str(reviews))
    assert found["metrics"]["accuracy"] == pytest.approx(rs.Run(lora.path).evaluate(str(reviews))["metrics"]["accuracy"])
    assert found["leakage"] is None
    assert export([run], tmp_path / "plain", rows=str(reviews))["compared"]["largest_move"] < 1e-3
    with pytest.raises(DataError, match="not at hand"):
        export([run], tmp_path / "again")


def test_an_adapter_alone_finds_a_base_that_was_moved(alone, tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "moved")
    config = json.loads((alone / "adapter_config.json").read_text())
    (alone / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "moved")}))
    assert rs.Run(alone).predict(["a good film"])
    make_base(tmp_path / "moved", num_hidden_layers=1)
    with pytest.raises(ContractRefused, match="base"):
        rs.Run(alone).predict(["a good film"])


def other_weights(folder):
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def other_labels(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "positive", "1": "negative"}}))


def other_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"good"', '"gold"'))


def other_base(folder):
    path = folder / "contract.json"
    contract = json.loads(path.read_text())
    path.write_text(json.dumps(contract | {"base": contract["base"] | {"sha256": "0" * 64}}))


def other_scale(folder):
    """Twice the update that was learned, with every tensor as it was."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))


def longer(folder):
    path = folder / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"length": 4096}))


def serve(run):
    with closing(engine(EngineSettings(precision="float32", threads=1))) as serving:
        serving.load("reviews", run.path)


VERBS = {
    "predict": lambda run, _: run.predict(["a good film"]),
    "evaluate": lambda run, at: run.evaluate(str(at / "reviews.csv")),
    "export": lambda run, at: export([run], at / "out", rows=str(at / "reviews.csv")),
    "serve": lambda run, _: serve(run),
    "adapt --teacher": lambda run, at: rs.adapt(at / "reviews.csv", base=str(at / "tiny"), teacher={"run": str(run.path)}, out=at / "out"),
    "scan --backdoor": lambda run, _: suspect.opened(str(run.path), base=None, say=lambda text: None),
    "scan --bias": lambda run, _: bias.measure(str(run.path), bias.Plan(lists=("gender",)), Watch()),
}
"""What opens a model to ask it for answers."""


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_weights, "weights"),
        (other_labels, "labels"),
        (other_tokenizer, "tokenizer"),
        (other_base, "0" * 64),
        (longer, "4096"),
        (other_scale, "settings"),
    ],
)
def test_what_the_contract_holds_is_checked_in_every_verb(alone, reviews, tiny_base, tmp_path, verb, change, said):
    change(alone)
    (tmp_path / "tiny").symlink_to(tiny_base)
    with pytest.raises(ContractRefused, match=said) as refused:
        VERBS[verb](rs.Run(alone), tmp_path)
    assert "wanted: " in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{}", "[]", '{"base": {}}', "{"])
def test_a_contract_that_says_nothing_is_a_damaged_folder(alone, reviews, tiny_base, tmp_path, text):
    (alone / "contract.json").write_text(text)
    (tmp_path / "tiny").symlink_to(tiny_base)
    for use in VERBS.values():
        with pytest.raises(UsageError, match=r"contract\.json is damaged"):
            use(rs.Run(alone), tmp_path)


@pytest.mark.parametrize(("change", "said"), [(other_weights, "weights"), (other_tokenizer, "tokenizer")])
def test_a_model_that_is_built_on_is_held_to_its_contract(lora, reviews, tmp_path, change, said):
    export([lora], tmp_path / "plain")
    (tmp_path / "plain" / "model.safetensors").rename(tmp_path / "plain" / "adapter_model.safetensors")
    change(tmp_path / "plain")
    (tmp_path / "plain" / "adapter_model.safetensors").rename(tmp_path / "plain" / "model.safetensors")
    with pytest.raises(ContractRefused, match=said):
        rs.adapt(reviews, base=str(tmp_path / "plain"), method="full", training={"steps": 1}, out=tmp_path / "grown")
    with pytest.raises(ContractRefused, match=said):
        open_base(str(tmp_path / "plain"))


def test_an_adapter_is_no_base_and_says_how_to_make_one(lora, reviews, tmp_path):
    for use_it in (lambda: rs.adapt(reviews, base=str(lora.path), out=tmp_path / "grown"), lambda: open_base(str(lora.path))):
        with pytest.raises(BaseError, match="rootstock export"):
            use_it()


def test_diff_names_what_a_contract_holds(adapt, lora, tmp_path):
    rows = [(text, "yes" if label == "positive" else "no") for text, label in rows_of(80, seed=3)]
    other = adapt(method="lora", training={**QUICK, "length": 16}, data=write_csv(tmp_path / "other.csv", rows), out="other")
    found = differences.compare(lora.path, other.path)["contract"]
    assert found == {"labels": [["negative", "positive"], ["no", "yes"]], "length": [64, 16]}


def test_several_runs_answer_the_rows_of_one_file(adapt, lora, reviews, tmp_path):
    from typer.testing import CliRunner

    full = adapt(out="full", training={"epochs": 1})
    words = ["predict", str(lora.path), "--also", str(full.path)]
    said = CliRunner().invoke(app, [*words, "--file", str(reviews), "--out", str(tmp_path / "made.jsonl")])
    assert said.exit_code == 0, said.exception
    made = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in made]
    assert [row["lora.predicted"] for row in made] == rs.Run(lora.path).predict(texts)
    assert [row["full.predicted"] for row in made] == rs.Run(full.path).predict(texts)
    assert list(made[0])[:2] == ["text", "label"]
    assert "--file" in str(CliRunner().invoke(app, [*words, "a text"]).exception)
    assert "called lora" in str(CliRunner().invoke(app, [*words, "--also", str(lora.path), "--file", str(reviews)]).exception)


def test_runs_of_different_tasks_share_a_body_and_each_answers_under_its_own_head(adapt, lora, tmp_path):
    lines = [f"{word}\t{'T' if word in ('good', 'bad') else 'O'}" for text, _ in rows_of(40) for word in [*text.split(), ""]]
    (tmp_path / "tags.conll").write_text("\n".join(line if line[0] != "\t" else "" for line in lines) + "\n")
    tags = adapt(method="lora", training=QUICK, data=tmp_path / "tags.conll", out="tags")
    assert tags.recipe.task["name"] == "token-classification"
    found = export([tags, lora], tmp_path / "both", head_from=tags.path, combination=Combination(how="dare", density=0.9))
    first, second = found["sources"]
    assert (first["own_head"], second["own_head"]) == (False, True)
    assert "accuracy" in first["measured"]["merged"]
    assert transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "both")
    assert rs.Run(tmp_path / "both").predict(["a good film"])


def test_a_model_that_writes_is_folded_and_combined(tmp_path):
    base = saved(causal_model(), with_bos(), tmp_path / "base")
    data = write_csv(tmp_path / "said.csv", [(text, f"{text} good") for text, _ in rows_of(40)], header=("prompt", "completion"))
    runs = [
        rs.adapt(data, base=str(base), method="lora", training={"steps": 2, "rate": 1e-2}, seed=seed, out=tmp_path / name)
        for seed, name in enumerate(("one", "two"))
    ]
    found = export(runs, tmp_path / "both", combination=Combination(weights=(1.0, 1.0)))
    assert all(each["measured"]["merged"]["loss"][0] > 0 for each in found["sources"])
    export(runs[:1], tmp_path / "plain")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert plain.lm_head.weight is plain.transformer.wte.weight


def test_a_model_of_images_is_folded(tmp_path):
    from PIL import Image

    for number in range(12):
        place = tmp_path / "pictures" / ("light" if number % 2 else "dark")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (200 + number,) * 3 if number % 2 else (number,) * 3).save(place / f"{number}.png")
    vit_model().save_pretrained(tmp_path / "base")
    method = LoRA(targets=("all-linear",))
    settings = {"validation": 0.4, "training": {"steps": 2, "rate": 1e-2}, "accept": ["duplicates", "overlap"]}
    run = rs.adapt(tmp_path / "pictures", base=str(tmp_path / "base"), method=method, out=tmp_path / "run", **settings)
    assert export([run], tmp_path / "plain")["compared"]["largest_move"] < 1e-3
    picture = str(tmp_path / "pictures" / "dark" / "0.png")
    assert rs.Run(tmp_path / "plain").predict([picture]) == rs.Run(run.path).predict([picture])


def test_a_model_of_vectors_keeps_what_tells_others_how_to_pool(tiny_base, tmp_path):
    data = write_csv(tmp_path / "pairs.csv", [(text, text) for text, _ in rows_of(30)], header=("anchor", "positive"))
    run = rs.adapt(
        data,
        base=str(tiny_base),
        method="lora",
        task=Embedding(pool="cls"),
        training={"steps": 2, "rate": 1e-2},
        accept=["duplicates", "overlap"],
        out=tmp_path / "run",
    )
    export([run], tmp_path / "plain")
    pooling = json.loads((tmp_path / "plain" / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_cls_token"]
    assert (tmp_path / "plain" / "modules.json").is_file()


def test_of_a_run_on_several_tasks_one_is_named(tiny_base, tmp_path):
    rows = {name: write_csv(tmp_path / f"{name}.csv", rows_of(40, seed)) for seed, name in enumerate(("one", "two"))}
    training = {"steps": 4, "rate": 1e-2}
    run = rs.adapt(rows, base=str(tiny_base), method="lora", training=training, accept=["duplicates", "overlap"], out=tmp_path / "run")
    with pytest.raises(UsageError, match="learned several tasks") as met:
        export([run], tmp_path / "plain")
    assert str(run.path / "parts" / "one") in str(met.value)
    assert differences.compare(run.path, run.path)["contract"] == {}
    parts = [run.part(name) for name in ("one", "two")]
    assert export(parts[:1], tmp_path / "plain")["compared"]["largest_move"] < 1e-3
    assert export(parts, tmp_path / "both")["head"] == "mean"
