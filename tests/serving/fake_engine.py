"""An engine without models, with the real one's interface: answers tell what they were asked, so that a mixed-up one shows."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np

from rootstock.core.errors import Draining, GateRefused, Overloaded, RowRefused, TimedOut, UnknownModel, UsageError
from rootstock.serving.settings import EngineSettings
from rootstock.serving.told import ModelInfo, Piece, Vectors


def info(name, can=("predict",), **more):
    told = {"task": "text-classification", "kind": "class", "method": "lora", "base": "/home/somebody/base", "base_sha256": "0" * 64}
    told |= {"labels": ("no", "yes"), "reads": ("text",), "length": 128, "chat": False, "loaded": True, "shares": True}
    return ModelInfo(name=name, can=can, alone_because="", precision="float32", **told | more)


class FakeEngine:
    """slow: until it is set nothing is answered. failing: raised by every predict."""

    settings = EngineSettings()

    def __init__(self):
        self.held = {"reviews": info("reviews"), "vectors": info("vectors", ("embed",)), "writer": info("writer", ("generate",), chat=True)}
        self.slow = None
        self.failing = None
        self.inside = self.cancelled = self.closed_streams = 0
        self.writings = []

    def models(self):
        return list(self.held.values())

    def figures(self):
        return {"queue_rows": 3, "rows": 7, "seconds": {"compute": 0.5}, "precision": "float32"}

    async def drain(self):
        assert not self.inside

    def close(self):
        assert not self.inside

    def add(self, name, folder):
        if (folder / "refused").exists():
            raise GateRefused(f"{folder} was refused")
        return self.load(name, folder)

    def load(self, name, folder):
        self.held[name] = info(name, base=str(folder))
        return self.held[name]

    def unload(self, name):
        del self.held[name]

    @asynccontextmanager
    async def _asked(self, name, able):
        if name not in self.held:
            raise UnknownModel(name, self.held)
        if able not in self.held[name].can:
            raise UsageError(f"{name} does not {able}", wanted="another model")
        if self.failing:
            raise self.failing
        self.inside += 1
        try:
            if self.slow:
                await self.slow.wait()
            yield
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1

    async def predict(self, name, rows, *, timeout_s):
        async with self._asked(name, "predict"):
            if rows[0] == {"text": "slow"}:
                await asyncio.sleep(float(rows[1]["text"]))
            for index, row in enumerate(rows):
                if "text" not in row:
                    raise RowRefused(index, "there is no text")
            return [{"predicted": f"{name}: {row}", "confidence": 0.5, "cut": False} for row in rows]

    async def embed(self, name, texts, *, timeout_s):
        async with self._asked(name, "embed"):
            return Vectors(np.array([[len(text), 0.25, -1.0] for text in texts], np.float32), sum(map(len, texts)))

    async def stream(self, name, prompt, how):
        self.writings.append((prompt, how))
        async with self._asked(name, "generate"):
            words = (prompt if isinstance(prompt, str) else prompt[-1]["content"]).split()
            try:
                for number, word in enumerate(words, 1):
                    yield Piece(text=word + " ", tokens=number, prompt_tokens=len(words))
                    await asyncio.sleep(0.1 if words[0] == "slow" else 0)
                yield Piece(text="", tokens=len(words), prompt_tokens=len(words), finish="stop")
            finally:
                self.closed_streams += 1


OVERLOADED = Overloaded("the queue is full", retry_after=2.4)
DRAINING = Draining("it is shutting down", retry_after=1.0)
LATE = TimedOut("no answer in 60 s")
