"""Attacks of the kinds that the catalogue lists, in files of our own: each found, at its severity. Nothing loads them."""

import pytest
from tests.sentinel.attack_archives import archives_and_arrays
from tests.sentinel.attack_models import models
from tests.sentinel.attack_pickles import pickles
from tests.sentinel.attack_repositories import repositories
from tests.sentinel.scanning import found

ORDER = ("note", "unscanned", "suspicious", "malicious")
ATTACKS = [
    *((identity, {"model.pkl": data}, severity) for identity, data, severity in pickles()),
    *archives_and_arrays(),
    *models(),
    *repositories(),
]


@pytest.mark.parametrize(("files", "severity"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS])
def test_found(tmp_path, files, severity):
    rules = found(tmp_path, files)
    assert max((ORDER.index(each) for each in rules.values()), default=0) >= ORDER.index(severity), rules
    assert "reader-stopped" not in rules


def test_each_has_a_name_of_its_own():
    names = [each[0] for each in ATTACKS]
    assert len(set(names)) == len(names)
