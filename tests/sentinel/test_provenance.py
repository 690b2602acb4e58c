"""Origin is proven by keys and pinned digests, declared by all else, and the two are never mixed."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from tests.sentinel.test_integrity import folder_of, weights

from rootstock.bases.resolve import KNOWN, resolve
from rootstock.core.errors import RootstockError, UnknownName, UsageError
from rootstock.sentinel import ModelProvenanceChecker
from rootstock.sentinel.provenance import claims, digests, signatures, trust


@pytest.fixture(autouse=True)
def no_store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("ROOTSTOCK_TRUST", raising=False)


@pytest.fixture
def model(tmp_path):
    return folder_of(tmp_path / "model", weights())


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def store(tmp_path, text):
    path = tmp_path / "trust.yaml"
    path.write_text(text)
    return path


def pinned(tmp_path, model):
    return store(
        tmp_path, f"publishers:\n  meta-llama:\n    digests:\n      tiny: {{model.safetensors: {sha(model / 'model.safetensors')}}}\n"
    )


def test_a_pinned_digest_proves_the_source(tmp_path, model):
    result = ModelProvenanceChecker(trust_store=pinned(tmp_path, model)).verify(model_path=model, expected_source="meta-llama")
    assert result.verified
    assert result.source == "meta-llama"
    assert result.issues == []


def test_unknown_source_and_missing_signature_are_said(model):
    result = ModelProvenanceChecker().verify(model_path=str(model), expected_source="meta-llama", check_signature=True)
    assert not result.verified
    assert [each.split(":")[0] for each in result.issues] == ["Missing signature", "Unknown source"]


def test_another_publisher_than_expected(tmp_path, model):
    result = ModelProvenanceChecker(trust_store=pinned(tmp_path, model)).verify(model, "mistralai")
    assert [each.split(":")[0] for each in result.issues] == ["Source mismatch"]


def test_one_changed_bit_takes_the_proof_away(tmp_path, model):
    checker = ModelProvenanceChecker(trust_store=pinned(tmp_path, model))
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "model.safetensors").write_bytes(data)
    result = checker.verify(model, "meta-llama", check_signature=False)
    assert [each.split(":")[0] for each in result.issues] == ["Digest mismatch", "Unknown source"]


def test_what_the_shipped_store_pins_is_what_bases_pin():
    for name, known in KNOWN.items():
        owner, model = known.hub_id.split("/")
        assert trust.load()[owner].digests[model] == {"model.safetensors": known.sha256}, name


def test_minilm_is_known_without_a_store():
    assert ModelProvenanceChecker().verify(resolve("minilm").folder, "sentence-transformers").verified


def test_the_cache_of_the_hub_is_compared_with_the_bytes(tmp_path):
    root = tmp_path / "models--meta-llama--Tiny"
    blobs, snapshot = root / "blobs", root / "snapshots" / ("c" * 40)
    made = folder_of(tmp_path / "made", weights(), claimed=False)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, digest in (("model.safetensors", sha(made / "model.safetensors")), ("config.json", digests.blob(made / "config.json"))):
        (blobs / digest).write_bytes((made / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/{digest}")
    result = ModelProvenanceChecker().verify(snapshot, "meta-llama", check_signature=False)
    assert result.declared["repository"] == "meta-llama/Tiny"
    assert [each.split(":")[0] for each in result.issues] == ["Unknown source"]  # declared is not proven
    (blobs / sha(made / "model.safetensors")).write_bytes(b"other")
    changed = ModelProvenanceChecker().verify(snapshot, "other/Tiny", check_signature=False)
    assert [each.split(":")[0] for each in changed.issues] == ["Digest mismatch", "Source mismatch", "Unknown source"]


def test_the_notes_of_a_local_download_are_compared(tmp_path, model):
    notes = model / ".cache/huggingface/download"
    notes.mkdir(parents=True)
    (notes / "model.safetensors.metadata").write_text(f"{'a' * 40}\n{'b' * 64}\n1700000000.0\n")
    (notes / "config.json.metadata").write_text(f"{'a' * 40}\n{digests.blob(model / 'config.json')}\n1700000000.0\n")
    assert claims.hub(model) == claims.Hub(None, "a" * 40)
    issues = ModelProvenanceChecker().verify(model, check_signature=False).issues
    assert [each for each in issues if "the hub's metadata says" in each and "model.safetensors" in each]
    assert not [each for each in issues if "config.json" in each]


def test_the_blob_id_is_that_of_git(tmp_path):
    (tmp_path / "x").write_bytes(b"hello\n")
    assert digests.blob(tmp_path / "x") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_run_one_level_above_knows_its_model(tmp_path, model):
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"model/config.json": "0" * 64}}))
    assert any("../manifest.json" in each for each in ModelProvenanceChecker().verify(model, check_signature=False).issues)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[", UsageError),
        ("publishers: []", UsageError),
        ("publishers: {a: {kees: []}}", UnknownName),
        ("publishers: {a: {digests: {m: {f: 12}}}}", UsageError),
        ("publishers: {a: {identities: [{identity: x}]}}", UsageError),
        ("publishers: {a: 3}", UsageError),
    ],
)
def test_a_wrong_store_is_told(tmp_path, text, error):
    with pytest.raises(error):
        trust.load(store(tmp_path, text))


def test_a_store_that_is_named_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no trust store"):
        trust.load(tmp_path / "none.yaml")


def test_without_the_extra_signing_is_refused_with_its_name(tmp_path, model, monkeypatch):
    (tmp_path / "key.pem").write_text("x")
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UsageError, match=r"rootstock\[security\]"):
        signatures.sign(model, tmp_path / "key.pem")


# -- with the extra security ----------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path):
    pytest.importorskip("model_signing.signing")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(name):
        private = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        (tmp_path / f"{name}.pem").write_bytes(pem)
        public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
        return tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"

    return made


def test_signed_and_verified_and_every_change_found(tmp_path, model, key):
    private, public = key("mine")
    signatures.sign(model, private)
    checker = ModelProvenanceChecker(trust_store=store(tmp_path, "publishers: {acme: {keys: [mine.pub]}}"))
    assert checker.verify(model, "acme").verified
    assert checker.verify(model, signer=public).verified
    assert not checker.verify(model, signer=key("other")[1]).verified
    (model / "extra.py").write_text("x")
    assert any("extra.py" in each for each in checker.verify(model, "acme").issues)
    (model / "extra.py").unlink()
    (model / "config.json").write_text("{}")
    assert any(each.startswith("Signature mismatch") and "config.json" in each for each in checker.verify(model, "acme").issues)


@pytest.mark.parametrize("out", [None, "model/own.sig", "beside.sig"])
def test_a_folder_by_a_short_path_is_signed_and_verified(tmp_path, model, key, monkeypatch, out):
    """As people type it. What is left out of a signature is named within the folder, or the signature itself would count as added."""
    private, public = key("mine")
    monkeypatch.chdir(tmp_path)
    place = signatures.sign(Path("model"), private, None if out is None else Path(out))
    assert isinstance(signatures.check(Path("model"), place, public), signatures.Signed)
    assert isinstance(signatures.check(model, place, public), signatures.Signed)


def certificates(tmp_path, name):
    """The key and certificate of somebody whom a root of that name vouches for, and the root's certificate."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(subject, issuer, key, by, *, root):
        called = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (subject, issuer)]
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        use = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
        )
        builder = x509.CertificateBuilder(
            called[1], called[0], key.public_key(), x509.random_serial_number(), start, start + datetime.timedelta(9000)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=root, crl_sign=root, **use)
        return builder.add_extension(usage, critical=True).sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = {
        "root.pem": made(name, name, root, root, root=True),
        "signer.pem": made("signer", name, key, root, root=False),
        "key.pem": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    folder = tmp_path / name
    folder.mkdir()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return folder


def test_signed_by_a_certificate_and_checked_by_its_root(tmp_path, model, key):
    mine, other = certificates(tmp_path, "mine"), certificates(tmp_path, "other")
    signatures.sign(model, mine / "key.pem", certificate=mine / "signer.pem")
    checker = ModelProvenanceChecker(trust_store=store(tmp_path, "publishers: {acme: {keys: [mine/root.pem]}}"))
    assert checker.verify(model, "acme").verified
    assert checker.verify(model, signer=mine / "root.pem").verified
    for by in (other / "root.pem", key("plain")[1]):
        assert [each.split(":")[0] for each in checker.verify(model, signer=by).issues] == ["Signature mismatch"]
    (model / "config.json").write_text("{}")
    assert any(each.startswith("Signature mismatch") and "config.json" in each for each in checker.verify(model, "acme").issues)
    with pytest.raises(UsageError, match="does not match"):
        signatures.sign(model, other / "key.pem", certificate=mine / "signer.pem")


def test_what_the_signer_left_out_is_named(tmp_path, model, key):
    """A signature may say which files to pass over; a change there is none that it would tell of."""
    from model_signing import hashing, signing

    private, public = key("mine")
    how = hashing.Config().set_ignored_paths(paths=[model / "config.json", model / "model.sig"], ignore_git_paths=True)
    signing.Config().use_elliptic_key_signer(private_key=private).set_hashing_config(how).sign(model, model / "model.sig")
    (model / "config.json").write_text('{"changed": true}')
    assert [each for each in ModelProvenanceChecker().verify(model, signer=public).issues if "config.json" in each and "Not signed" in each]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"dsseEnvelope": {}}', bytes(range(160, 224))])
def test_a_broken_signature_is_an_issue(tmp_path, model, key, data):
    _, public = key("mine")
    (model / "model.sig").write_bytes(data)
    try:
        issues = ModelProvenanceChecker().verify(model, signer=public).issues
    except RootstockError as error:
        pytest.fail(str(error))
    assert any(each.startswith("Signature mismatch") for each in issues)


def test_an_identity_without_a_network_says_what_is_missing(monkeypatch, tmp_path):
    """sigstore's package is not asked for here: what stands in fails as it does without a network."""
    import types

    from rootstock.sentinel.provenance import signatures
    from rootstock.sentinel.provenance.trust import Identity

    class Error(Exception):
        pass

    class Config:
        def use_sigstore_verifier(self, *, identity, oidc_issuer, trust_config):
            if trust_config is None:
                raise Error("Failed to refresh TUF metadata")
            json.loads(trust_config.read_text())

    modules = {"model_signing.verifying": types.SimpleNamespace(Config=Config), "sigstore.errors": types.SimpleNamespace(Error=Error)}
    monkeypatch.setattr(signatures, "needed", lambda name, *_, **__: modules[name])
    by = Identity("you@example.com", "https://accounts.example.com")
    with pytest.raises(UsageError, match="root of trust can't be had") as told:
        signatures.check(tmp_path, tmp_path / "model.sig", by)
    assert all(each in str(told.value) for each in ("you@example.com", "a network", "ROOTSTOCK_SIGSTORE_TRUST", "--signature key.pub"))
    (tmp_path / "trust.json").write_text("{")
    monkeypatch.setenv("ROOTSTOCK_SIGSTORE_TRUST", str(tmp_path / "trust.json"))
    with pytest.raises(UsageError, match="no trust configuration"):
        signatures.check(tmp_path, tmp_path / "model.sig", by)
