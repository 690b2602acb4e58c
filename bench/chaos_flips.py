"""One bit of a file turned over: it is found, or makes no difference; what must not be is another result."""

import os
import random
import shutil
import time
from collections import Counter

from chaos_stages import environment, finish, kill, start, texts


def flips(stage, folder, times, seed):
    """By kind of file: how often a turned bit was found, was harmless, changed a result, or ended in no message at all."""
    os.environ |= {key: value for key, value in environment(folder).items() if key.startswith(("ROOTSTOCK", "OMP"))}
    place = folder / "flips"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    run = _run(stage, place)
    kinds = {
        "checkpoint": _saved(stage, place),
        "adapter": _model(run, "model"),
        "cache": _cache(place),
        "manifest": _model(run, "manifest.json"),
    }
    each = max(1, times // len(kinds))
    return {name: dict(tried(files, look, each, random.Random(f"{seed}-{name}"))) for name, (files, look) in kinds.items()}


def tried(files, look, times, rng):
    """Turn one bit of one file, look, turn it back. look() gives the result, or None where it says that something is wrong."""
    from rootstock.core.errors import RootstockError

    right, counts = look(), Counter()
    assert right is not None
    for _ in range(times):
        path = rng.choices(files, [file.stat().st_size for file in files])[0]
        place, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        _turn(path, place, bit)
        try:
            got = look()
            counts["found" if got is None else "harmless" if got == right else "wrong"] += 1
        except RootstockError:
            counts["found"] += 1
        except Exception as error:  # what is counted here is exactly what no caller should meet
            counts[f"no message: {type(error).__name__}"] += 1
        finally:
            _turn(path, place, bit)
    assert look() == right
    return counts


def _turn(path, place, bit):
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ (1 << bit)]))


def _run(stage, place):
    """A run of the stage to its end."""
    out = place / "run"
    code, _, err = finish(stage, out, place.parent)
    assert code == 0, err
    return out


def _saved(stage, place):
    """The newest checkpoint of a run that was killed on its way."""
    from rootstock.loop import checkpoint

    out, kept = place / "killed", place / "checkpoints"
    process = start([*stage.line, "--out", out], place.parent)
    while process.poll() is None and not checkpoint.saved(out / "checkpoints"):
        time.sleep(0.01)
    kill(process)
    kept.mkdir()
    newest = checkpoint.saved(out / "checkpoints")[-1]
    newest.rename(kept / newest.name)
    return _looked_at(kept)


def _checkpoint(run):
    """A checkpoint that is made here, for a trial without a run."""
    import torch

    from rootstock.loop import checkpoint

    torch.manual_seed(0)
    parts = {name: {f"layer.{i}": torch.randn(40, 30) for i in range(3)} for name in ("trained", "optimizer", "best")}
    parts["random"] = checkpoint.random_state()
    checkpoint.save(run / "kept", checkpoint.Checkpoint(2, parts, {"epoch": 0, "key": "a" * 64, "best": [0.5]}), keep=2)
    return _looked_at(run / "kept")


def _looked_at(folder):
    from rootstock.loop import checkpoint

    def look():
        found, _ = checkpoint.newest(folder)
        if found is None:
            return None
        return (
            found.step,
            found.state,
            {part: {key: value.numpy().tobytes() for key, value in held.items()} for part, held in found.parts.items()},
        )

    return [path for path in folder.rglob("*") if path.is_file()], look


def _model(run, name):
    import rootstock

    rows = [text for text, _ in texts(6, seed=99)]

    def look():
        found = rootstock.Run(run)
        return repr(found.predictions(found.rows_of(rows)).table)

    return [path for path in ((run / name).rglob("*") if (run / name).is_dir() else [run / name]) if path.is_file()], look


def _cache(place):
    import numpy as np

    from rootstock.data import cache

    os.environ["ROOTSTOCK_CACHE"] = str(place / "cache")
    arrays = {"ids": np.arange(5000, dtype=np.int32), "vectors": np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)}
    cache.remembered("chaos", {"of": "flips"}, lambda: arrays)

    def look():
        held = cache.recall("chaos", {"of": "flips"})
        return None if held is None else {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in held.items()}

    return [path for path in (place / "cache" / "chaos").rglob("*") if path.is_file()], look
