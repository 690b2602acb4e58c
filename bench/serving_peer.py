"""A server as the documentation of FastAPI and transformers shows it: one text-classification pipeline behind one path.

python bench/serving_peer.py MODEL_FOLDER PORT plain|queued

plain: a `def` endpoint, which FastAPI runs in its pool of threads. queued: the dynamic batching of transformers' page on web servers: a queue,
and a loop that takes what has come within a millisecond, 64 texts at most, in one call of the pipeline.
"""

import asyncio
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

MOST = 64


class Body(BaseModel):
    inputs: list[str]


def plain(model: str) -> FastAPI:
    app, pipe = FastAPI(), pipeline("text-classification", model=model)

    @app.post("/predict")
    def predict(body: Body) -> list[dict]:
        return pipe(body.inputs, truncation=True)

    return app


def queued(model: str) -> FastAPI:
    queue: asyncio.Queue = asyncio.Queue()

    async def loop() -> None:
        pipe = pipeline("text-classification", model=model)
        while True:
            waiting = [await queue.get()]
            while len(waiting) < MOST:
                try:
                    waiting.append(await asyncio.wait_for(queue.get(), timeout=0.001))
                except TimeoutError:
                    break
            texts = [text for text, _ in waiting]
            made = await asyncio.to_thread(pipe, texts, batch_size=len(texts), truncation=True)
            for (_, future), each in zip(waiting, made, strict=True):
                if not future.done():
                    future.set_result(each)

    @asynccontextmanager
    async def life(app: FastAPI):
        task = asyncio.create_task(loop())
        yield
        task.cancel()

    app = FastAPI(lifespan=life)

    @app.post("/predict")
    async def predict(body: Body) -> list[dict]:
        futures = [asyncio.get_running_loop().create_future() for _ in body.inputs]
        for each in zip(body.inputs, futures, strict=True):
            await queue.put(each)
        return list(await asyncio.gather(*futures))

    return app


if __name__ == "__main__":
    folder, port, kind = sys.argv[1:]
    uvicorn.run({"plain": plain, "queued": queued}[kind](folder), port=int(port), log_level="warning", access_log=False)
