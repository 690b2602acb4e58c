"""The catalogue of attacks, where it is at hand: all found, none of the harmless files refused, nothing left unread."""

import json
import os
from pathlib import Path

import pytest

from rootstock.sentinel.scanner import scan

SECURITY = Path(os.environ.get("ROOTSTOCK_SECURITY") or Path(__file__).parents[2] / "../shared/security")
CASES = json.loads((SECURITY / "manifest.json").read_text("utf-8")) if (SECURITY / "manifest.json").is_file() else []
FOLDERS = [(case["kind"], SECURITY / ("attacks" if case["kind"] == "attack" else "benign") / case["id"]) for case in CASES]
FOLDERS = [(kind, folder) for kind, folder in FOLDERS if folder.is_dir()]

pytestmark = pytest.mark.skipif(not FOLDERS, reason="the catalogue of attacks is not at hand: name its folder in ROOTSTOCK_SECURITY")


@pytest.mark.parametrize("folder", [folder for kind, folder in FOLDERS if kind == "attack"], ids=lambda folder: folder.name)
def test_found(folder):
    assert any(each.severity in ("malicious", "suspicious") for each in scan(folder).by_action("refuse"))


@pytest.mark.parametrize("folder", [folder for kind, folder in FOLDERS if kind == "benign"], ids=lambda folder: folder.name)
def test_passes(folder):
    assert scan(folder).by_action("refuse") == ()
