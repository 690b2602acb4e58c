"""The manifest of a run that has ended: what comes later is known, and what was changed since is still found out."""

import json

from rootstock.core.artifact import digest_file
from rootstock.core.runfolder import RunFolder
from rootstock.run import ending


def test_a_file_that_comes_later_leaves_the_digests_of_the_others(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "model").mkdir()
    weights, page = tmp_path / "model" / "model.safetensors", tmp_path / "bias.html"
    weights.write_bytes(b"learned")
    ending.seal(run, {"seed": 7})
    learned = digest_file(weights)
    weights.write_bytes(b"changed by somebody")
    page.write_text("a page")
    ending.add(run, [page.name])
    told = json.loads(run.manifest.read_text("utf-8"))
    assert told == {"seed": 7, "files": {"bias.html": digest_file(page), "model/model.safetensors": learned}}
