"""How workers are ended: as long as they save, then soon, then by force; and what a person is told."""

import logging
import signal

import pytest

from rootstock.core.errors import UsageError
from rootstock.core.recipe import ClusterSettings, Recipe
from rootstock.core.runfolder import RunFolder
from rootstock.core.watch import Watch
from rootstock.verbs import launch


@pytest.fixture
def agent(monkeypatch):
    """An agent without workers, and what it would have asked of them."""
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

    from rootstock.verbs.agent import _Agent

    asked, raised = [], []

    def shutdown(self, death_sig=signal.SIGTERM, timeout=30):
        asked.append((death_sig, timeout))
        if raised:
            raise raised.pop(0)

    monkeypatch.setattr(LocalElasticAgent, "_shutdown", shutdown)
    return _Agent.__new__(_Agent), asked, raised


def test_the_first_request_leaves_time_to_save_and_the_third_ends_all(agent):
    from torch.distributed.elastic.multiprocessing import SignalException

    held, asked, raised = agent
    again = SignalException("again", signal.SIGINT)
    raised.append(again)
    with pytest.raises(SignalException):
        held._shutdown(signal.SIGINT, 600)
    raised.append(again)
    with pytest.raises(SignalException):
        held._shutdown(timeout=600)
    assert asked == [(signal.SIGINT, 600), (signal.SIGTERM, 10), (signal.SIGKILL, 1)]


def test_workers_that_are_started_again_get_their_time_again(agent, monkeypatch, tmp_path):
    from torch.distributed.elastic.agent.server.api import WorkerGroup
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

    held, asked, _ = agent
    monkeypatch.setattr(LocalElasticAgent, "_restart_workers", lambda self, group: self._shutdown())
    held.say, held.errors, held._died, held._remaining_restarts = print, tmp_path, "worker 1 was killed", 2
    group = WorkerGroup.__new__(WorkerGroup)
    group.spec = type("Spec", (), {"max_restarts": 3})()
    held._restart_workers(group)
    held._shutdown(signal.SIGINT, 600)
    assert asked == [(signal.SIGTERM, 30), (signal.SIGINT, 600)]


def test_torchs_agent_is_silent_meanwhile(caplog):
    with launch._quiet():
        logging.getLogger("torch.distributed.elastic.agent.server.api").warning("Received 2 death signal")
        assert not caplog.records
    logging.getLogger("torch.distributed.elastic.agent.server.api").warning("Received 2 death signal")
    assert len(caplog.records) == 1


def test_what_can_be_gone_on_with_is_named_only_where_it_is_there(tmp_path):
    assert "the same command" in launch._stopped(RunFolder(tmp_path / "none")).fix
    begun = tmp_path / "run"
    begun.mkdir()
    for name in ("recipe.yaml", "ledger.json"):
        (begun / name).write_text("{}")
    assert RunFolder(begun).begun
    assert f"{begun}/recipe.yaml --resume" in launch._stopped(RunFolder(begun)).fix


def test_ray_carries_one_worker_too_and_a_worker_starts_none(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "WORLD_SIZE", "ROOTSTOCK_WORKER_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    on_ray, two = ClusterSettings(engine="ray"), ClusterSettings(workers=2)
    assert [launch.wanted(each) for each in (ClusterSettings(), on_ray, two)] == [False, True, True]
    monkeypatch.setenv("ROOTSTOCK_WORKER_ERRORS", "there")
    assert not launch.wanted(on_ray), "else it would ask Ray again, without an end"


@pytest.mark.parametrize("goes_back", [True, False])
def test_workers_go_back_only_where_who_starts_them_lets_them(monkeypatch, tmp_path, goes_back):
    from rootstock.cli import _worker
    from rootstock.core import worker
    from rootstock.verbs import api

    class Heard(Exception):
        pass

    def carried_out(recipe, out, watch, **how):
        raise Heard(watch.goes_back)

    monkeypatch.setattr(launch, "check", lambda cluster: None)
    monkeypatch.setattr(worker, "bound", lambda parent: None)
    monkeypatch.setattr(api, "carry_out", carried_out)
    monkeypatch.setattr(launch, "_launch", lambda cluster, place, say, folder: _worker.work(str(place / "task.json")))
    recipe = Recipe.build({"data": {"train": "rows.csv"}, "cluster": {"workers": 2}}, "")
    with pytest.raises(Heard, match=str(goes_back)):
        launch.carry_out(recipe, RunFolder(tmp_path / "run"), Watch(goes_back=goes_back), overwrite=False, resume=False)


def test_a_patience_that_is_none_is_refused_before_a_worker_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("ROOTSTOCK_PATIENCE_MINUTES", "soon")
    recipe = Recipe.build({"base": "minilm", "data": {"train": "rows.csv"}, "cluster": {"workers": 2}}, "")
    with pytest.raises(UsageError, match="ROOTSTOCK_PATIENCE_MINUTES is 'soon'"):
        launch.carry_out(recipe, RunFolder(tmp_path / "run"), Watch(), overwrite=False, resume=False)
