"""`rootstock serve` from its first line to its last: https, tokens, a folder that is watched, and the end by a signal."""

# ruff: noqa: E402  (packages that may be missing come first)

import json
import os
import queue
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from tests.conftest import make_base
from tests.serving import crafted

for needed in ("httptools", "uvicorn", "fastapi", "prometheus_client"):
    pytest.importorskip(needed, reason="needs the extra serve")

from rootstock.core import resources
from rootstock.methods.lora import LoRA
from rootstock.run.use import Run
from rootstock.serving import watched
from rootstock.serving.settings import EngineSettings
from rootstock.tasks.text_classification import TextClassification
from rootstock.verbs import serving
from rootstock.verbs.serving import Asked

TOKEN = "0123456789abcdef"
TEXT = "a good film"


class Client:
    """Asks a server whose certificate it knows."""

    def __init__(self, url, certificate):
        self.url, self.context = url, ssl.create_default_context(cafile=certificate)

    def ask(self, path, body=None, *, token=TOKEN):
        """Status and answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.context) as found:
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def predict(self, name):
        return self.ask(f"/v1/models/{name}:predict", {"inputs": [TEXT]})

    def until(self, name, status):
        """Ask a model until it gets this status."""
        end = time.monotonic() + 60
        while self.predict(name)[0] != status:
            assert time.monotonic() < end, (name, status)
            time.sleep(0.01)


@pytest.fixture
def certified(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=here"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    return certificate, key


def test_a_server_from_its_first_line_to_its_last(tmp_path, certified, monkeypatch, capsys):
    base, models, apart = make_base(tmp_path / "base"), tmp_path / "models", tmp_path / "apart"
    for name, seed in (("one", 1), ("two", 2)):
        crafted.model(models / name, base, TextClassification(labels=("yes", "no"), several="no"), LoRA(), seed=seed)
    apart.mkdir()
    (models / "two").rename(apart / "two")
    bad = shutil.copytree(models / "one", apart / "bad")
    (bad / "adapter_model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    wanted = {name: Run(place / name).predict([TEXT])[0] for name, place in (("one", models), ("two", apart))}
    (tmp_path / "tokens.txt").write_text(f"me: {TOKEN}\n")
    monkeypatch.setattr(watched, "_PAUSE_SECONDS", 0.02)
    settled, said, told = [], queue.Queue(), []
    monkeypatch.setattr(resources, "settle", lambda: settled.append(1))

    def client():
        try:
            while not (found := re.search(r"at (https://127\.0\.0\.1:\d+) ", said.get(timeout=120))):
                pass
            asking = Client(found[1], str(certified[0]))
            told.append(("no token", asking.ask("/v1/models", token=None)[0]))
            told.append(("healthz", asking.ask("/healthz", token=None)))
            told.append(("one", asking.predict("one")))
            told.append(("figures", asking.ask("/metrics")))
            with pytest.raises((urllib.error.URLError, ConnectionError)):
                urllib.request.urlopen(found[1].replace("https", "http") + "/healthz", timeout=60)
            shutil.move(apart / "bad", models / "bad")
            shutil.move(apart / "two", models / "two")
            asking.until("two", 200)
            told.append(("two", asking.predict("two")))
            told.append(("bad", asking.predict("bad")[0]))
            shutil.rmtree(models / "one")
            asking.until("one", 404)
        except BaseException as error:  # whatever it is, the test must come to know of it, and the server must end
            told.append(("failed", error))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    asked = Asked(
        models=models,
        watch=True,
        port=0,
        token_file=tmp_path / "tokens.txt",
        certificate=certified[0],
        key=certified[1],
        engine=EngineSettings(precision="float32", threads=1),
    )
    thread = threading.Thread(target=client)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # one that comes when nobody serves any more ends no test
    thread.start()
    try:
        serving.serve(asked, said.put)
    finally:
        signal.signal(signal.SIGTERM, before)
        thread.join(60)
    found = dict(told)
    assert "failed" not in found, found
    assert found["no token"] == 401
    assert found["healthz"] == (200, '{"status":"ok"}')
    for name, answer in wanted.items():
        assert (found[name][0], json.loads(found[name][1])["predictions"][0]["predicted"]) == (200, answer)
    assert 'rootstock_engine_precision_info{is="float32"} 1.0' in found["figures"][1]
    assert found["bad"] == 404
    assert settled == [1]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    events = [(line["event"], line.get("model")) for line in lines if line["event"].startswith("model")]
    assert sorted(set(events)) == [("model_added", "one"), ("model_added", "two"), ("model_gone", "one"), ("model_refused", "bad")]
    assert [line["event"] for line in lines][-1] == "ended"
    assert TEXT not in json.dumps(lines)
    assert TOKEN not in json.dumps(lines)
    assert sys.exc_info() == (None, None, None)
