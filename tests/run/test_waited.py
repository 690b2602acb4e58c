"""Who waits for another run's work is still asked to stop, and says what it waits for."""

import pytest

from rootstock.core.errors import Interrupted, UsageError
from rootstock.core.lock import alone
from rootstock.core.watch import Watch
from rootstock.run.waited import by_one


def test_a_stop_is_heard_while_another_is_waited_for(tmp_path):
    said, asked = [], iter((False, False, True))
    watch = Watch(say=said.append, stop=lambda: next(asked))
    with alone(tmp_path / "b"), pytest.raises(Interrupted), by_one([tmp_path / "b", tmp_path / "a"], watch, seconds=60):
        pytest.fail("both make it")
    assert said == ["layers    another run makes the same just now: it is waited for"]
    assert not list(tmp_path.iterdir())


def test_all_places_together_take_no_longer_than_is_given(tmp_path):
    with alone(tmp_path / "b"), pytest.raises(UsageError), by_one([tmp_path / "a", tmp_path / "b"], Watch(), seconds=0.0):
        pytest.fail("both make it")
    with by_one([tmp_path / "a", tmp_path / "b"], Watch(), seconds=0.0):
        assert {each.name for each in tmp_path.iterdir()} == {".a.lock", ".b.lock"}
