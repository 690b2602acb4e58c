"""An engine of finished runs: what opens their folders is passed down to it."""

from rootstock.run.use import Run
from rootstock.serving.engine import Engine
from rootstock.serving.settings import EngineSettings


def engine(settings: EngineSettings) -> Engine:
    """An engine without models; its `close` ends its workers."""
    return Engine(settings, Run)
