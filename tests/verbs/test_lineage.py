"""The chain of a real run: every link verified, every change found, declared and verified apart; its documents are valid."""

import io
import json
import re
import shutil

import pytest
from tests.conftest import rows_of, write_csv
from typer.testing import CliRunner

from rootstock.cli.main import app
from rootstock.core.errors import UsageError
from rootstock.sentinel.provenance import licences
from rootstock.sentinel.provenance.bom import as_cyclonedx
from rootstock.sentinel.provenance.chain import Link
from rootstock.verbs import lineage, verifying


@pytest.fixture(scope="module")
def made(tiny_base, tmp_path_factory):
    """A base with a licence, and a merged LoRA run on it."""
    import rootstock as rs

    place = tmp_path_factory.mktemp("lineage")
    base = shutil.copytree(tiny_base, place / "base")
    (base / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    data = write_csv(place / "reviews.csv", rows_of(40))
    rs.adapt(data, base=str(base), method="lora", training={"epochs": 1}, merge=True, validation=0.2, out=place / "run")
    return place


@pytest.fixture
def copy(made, tmp_path):
    """The same in a place of its own, so that a test may change it; the manifest's places are moved with it."""
    place = shutil.copytree(made, tmp_path / "there")
    manifest = place / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(made), str(place)))
    return place


def states(root):
    return {each.role: each.state for each in root.every()}


def test_every_link_is_verified(made):
    root = lineage.walk(made / "run")
    assert states(root) == dict.fromkeys(("merged export", "adapter", "base", "tokenizer", "data"), "verified")


@pytest.mark.parametrize(
    ("path", "role", "state"),
    [
        ("base/model.safetensors", "base", "changed"),
        ("reviews.csv", "data", "changed"),
        ("run/model/adapter_model.safetensors", "adapter", "changed"),
        ("run/merged/model.safetensors", "merged export", "changed"),
    ],
)
def test_a_changed_link_is_found(copy, path, role, state):
    data = bytearray((copy / path).read_bytes())
    data[-2] ^= 1
    (copy / path).write_bytes(data)
    assert states(lineage.walk(copy / "run"))[role] == state
    result = CliRunner().invoke(app, ["lineage", str(copy / "run")])
    assert "changed" in result.stdout
    assert result.exception is not None


@pytest.mark.parametrize(("path", "role"), [("base", "base"), ("reviews.csv", "data")])
def test_what_is_gone_is_missing_and_not_verified(copy, path, role):
    gone = copy / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert states(lineage.walk(copy / "run"))[role] == "missing"


def test_the_bill_of_materials_has_what_the_format_asks_for(made):
    text, _ = lineage.told(made / "run", "cyclonedx", None)
    again, _ = lineage.told(made / "run", "cyclonedx", None)
    assert text == again
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"])
    every = [bom["metadata"]["component"], *bom["components"]]
    refs = [each["bom-ref"] for each in every]
    assert len(set(refs)) == len(refs) == 5
    assert {each["ref"] for each in bom["dependencies"]} == set(refs)
    assert all(end in refs for each in bom["dependencies"] for end in each["dependsOn"])
    models = [each for each in every if each["type"] == "machine-learning-model"]
    assert all("modelCard" in each for each in models)
    assert any(each.get("licenses") == [{"license": {"id": "CC-BY-NC-4.0"}}] for each in models)
    metrics = bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert all(set(each) <= {"type", "value", "confidenceInterval"} and isinstance(each["value"], str) for each in metrics)
    assert any("confidenceInterval" in each for each in metrics)
    hashes = [inner["hashes"][0]["content"] for each in every for inner in each.get("components", ())]
    assert hashes
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes)


def test_the_bill_of_materials_is_valid_by_the_published_schema(made):
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text, _ = lineage.told(made / "run", "cyclonedx", None)
    assert validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None


def test_the_spdx_document_holds_to_the_published_model(made):
    """Types, counts and enumerations, by the classes that are generated from SPDX 3.0.1's own shapes."""
    model = pytest.importorskip("spdx_python_model", reason="pip install spdx-python-model to hold documents to SPDX's shapes").v3_0_1
    held = model.SHACLObjectSet()
    model.JSONLDDeserializer().read(io.BytesIO(lineage.told(made / "run", "spdx", None)[0].encode()), held)
    assert not held.link()  # nothing refers to what is not there
    model.JSONLDSerializer().write(held, io.BytesIO())
    kinds = {type(each).__name__ for each in held.foreach()}
    assert {"ai_AIPackage", "dataset_DatasetPackage", "Relationship", "SpdxDocument"} <= kinds


def test_the_spdx_document_refers_only_to_what_it_holds(made):
    graph = json.loads(lineage.told(made / "run", "spdx", None)[0])["@graph"]
    ids = {each.get("spdxId") for each in graph}
    relations = [each for each in graph if each["type"] == "Relationship"]
    assert {each["relationshipType"] for each in relations} == {"trainedOn", "dependsOn", "hasDeclaredLicense"}
    assert all(each["from"] in ids and set(each["to"]) <= ids for each in relations)
    document = next(each for each in graph if each["type"] == "SpdxDocument")
    assert set(document["element"]) == ids - {document["spdxId"], None}


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        ("cc-by-nc-4.0", "apache-2.0", "Non-commercial"),
        ("cc-by-nd-4.0", "mit", "No derivatives"),
        ("gpl-3.0", "mit", "Share alike"),
        ("apache-2.0", "mit", None),
        ("mit", "gpl-3.0", None),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", None),
    ],
)
def test_licences_that_do_not_fit(below, above, said):
    base = Link(role="base", name="b", state="verified", licence=below)
    root = Link(role="run", name="r", state="verified", licence=above, grew_from=(base,))
    assert [each.split(":")[0] for each in licences.judge(root, licences.Policy()).issues] == ([said] if said else [])


def test_a_policy_of_licences(tmp_path, made):
    path = tmp_path / "policy.yaml"
    path.write_text("deny: [cc-by-nc-4.0]\nunknown: refuse\n")
    _, issues = lineage.told(made / "run", "tree", path)
    assert [each.split(":")[0] for each in issues].count("Denied licence") >= 1
    assert any(each.startswith("Unknown licence: data reviews.csv") for each in issues)
    path.write_text("alow: [mit]\n")
    with pytest.raises(UsageError, match="did you mean 'allow'"):
        licences.policy(path)


def test_no_run_and_no_format_are_wrong_usage(tmp_path, made):
    with pytest.raises(UsageError, match="does not exist"):
        lineage.told(tmp_path / "none", "tree", None)
    with pytest.raises(UsageError, match="cyclonedx"):
        lineage.told(made / "run", "cyclone", None)


def test_a_thing_that_occurs_twice_is_one_component():
    data = Link(role="data", name="d", state="verified", declared="a" * 64)
    base = Link(role="base", name="b", state="verified", declared="b" * 64, grew_from=(data,))
    bom = as_cyclonedx(Link(role="run", name="r", state="verified", measured="c" * 64, grew_from=(base, data)), "0")
    assert len(bom["components"]) == 2


# -- verify on the same run -----------------------------------------------------------------------------------------------


def test_verify_finds_nothing_in_a_fresh_run_and_names_what_an_adapter_changed(made):
    told = verifying.verify(made / "run", verifying.Asked(reference=str(made / "base")))
    assert told["issues"] == []
    assert told["difference"]["changed"]
    assert all(each["rank"] <= 8 for each in told["difference"]["changed"])
    assert "nothing proves who made it" in told["words"]


def test_verify_compares_shapes_with_the_architecture(copy):
    path = copy / "run" / "merged" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 48}))
    issues = verifying.verify(copy / "run", verifying.Asked())["issues"]
    assert any("Wrong shape: bert.encoder.layer.0.intermediate.dense.weight" in each for each in issues)


def test_half_an_identity_is_wrong_usage(made):
    with pytest.raises(UsageError, match="needs its issuer"):
        verifying.verify(made / "run", verifying.Asked(identity="me@example.com"))
