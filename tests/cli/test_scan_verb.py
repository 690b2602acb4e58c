"""rootstock scan: exit codes, forms, and a start that imports little."""

import json
import subprocess
import sys

PAYLOAD = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."


def test_exit_codes_and_forms(command, tmp_path):
    bad, good = tmp_path / "bad.pkl", tmp_path / "good.pkl"
    bad.write_bytes(PAYLOAD)
    good.write_bytes(b"\x80\x04K\x01.")
    code, out, error = command(["scan", good])
    assert (code, error) == (0, "")
    assert "none found at this budget" in out
    code, out, error = command(["scan", bad, good])
    assert code == 3
    assert all(["os.system" in out, "evidence found" in out, "refused" in error])
    code, out, _ = command(["scan", "--format=json", bad])
    (told,) = json.loads(out)["findings"]
    assert (code, told["rule"], told["offset"], told["severity"]) == (3, "pickle-executes", 14, "malicious")
    assert all(told[each] for each in ("path", "what", "why", "fix", "action"))
    code, out, _ = command(["scan", bad, "--format", "sarif", "--policy", "strict"])
    assert (code, json.loads(out)["version"]) == (3, "2.1.0")


def test_a_hub_id_is_fetched_whole_and_scanned_unopened(command, tmp_path, monkeypatch):
    """What stands in for the hub's client lays the files as it does: links of a snapshot to the blobs beside it."""
    import huggingface_hub

    blobs, snapshot = tmp_path / "models--org--model/blobs", tmp_path / "models--org--model/snapshots/c0ffee"
    (snapshot / "deep").mkdir(parents=True)
    blobs.mkdir()
    for name, data in (("config.json", b"{}"), ("deep/weights", b"\x80\x04K\x01.")):
        (blobs / name.rpartition("/")[2]).write_bytes(data)
        (snapshot / name).symlink_to(blobs / name.rpartition("/")[2])
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *ids, **how: asked.append((*ids, how)) or str(snapshot))
    code, out, _ = command(["scan", "org/model@v1"])
    assert (code, "2 files" in out) == (0, True)
    assert (asked[0][0], asked[0][1]["revision"], asked[0][1]["allow_patterns"], asked[0][1]["ignore_patterns"]) == (
        "org/model",
        "v1",
        ["*"],
        None,
    )
    (blobs / "weights").write_bytes(PAYLOAD)
    code, out, _ = command(["scan", "org/model"])
    assert (code, "deep/weights" in out) == (3, True)


def test_a_file_that_is_missing_in_a_folder_is_not_asked_for_at_the_hub(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    code, _, error = command(["scan", "runs/model.pkl"])
    assert (code, "there is no runs/model.pkl" in error) == (2, True)


def test_an_installed_base_is_scanned_by_its_name(command):
    assert command(["scan", "minilm"])[0] == 0


def test_wrong_usage(command, tmp_path):
    (tmp_path / "x").write_bytes(b"text")
    for words in (
        ["scan"],
        ["scan", "nowhere"],
        ["scan", tmp_path, "--format", "xml"],
        ["scan", tmp_path, "--policy", "lax"],
        ["scan", tmp_path, "--wrong"],
    ):
        assert command(words)[0] == 2, words


def test_a_scan_imports_no_framework(tmp_path):
    (tmp_path / "x.pkl").write_bytes(PAYLOAD)
    code = (
        "import sys; from rootstock.cli.main import main; sys.argv = ['rootstock', 'scan', sys.argv[1]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
