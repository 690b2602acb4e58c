"""How fast `rootstock serve` answers, and what overload, damage and an end by a signal do to it; writes results/serving-NAME.json.

python bench/serving.py prepare FOLDER [--base minilm]              a classifier, and eight LoRA adapters whose labels tell them apart
python bench/serving.py speed FOLDER [--seconds 20 --rounds 5]      requests a second at 64 connections, beside FastAPI + transformers.pipeline
python bench/serving.py latency FOLDER [--seconds 60 --rounds 5]    p50 and p99 at 70 % of what was measured just before; --servers for peers
python bench/serving.py overload FOLDER [--seconds 600]             3 × capacity, clients that hang up, models that come and go, one SIGTERM
python bench/serving.py malformed FOLDER [--count 10000]            wrong requests from a seed, and schemathesis where it is installed

ROOTSTOCK_RESULTS is another folder for results. Servers run one load at a time, and alternate where they are compared. The client shares
the machine with the server, in all measurements alike.
"""

# ruff: noqa: E402  (the path comes first)
import argparse
import asyncio
import collections
import csv
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]
import serving_fuzz
import serving_load as load
import words

RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))
HOT = 4
"""Adapters that come and go under load, of all; half of them where there are fewer than eight."""


def text_of(rng: random.Random) -> str:
    return " ".join(rng.choices(words.ALL, k=rng.randint(6, 30)))


def command(*line: str) -> list[str]:
    return [sys.executable, "-m", "rootstock", *line]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])}


def prepare(options: argparse.Namespace) -> None:
    """Few updates: it is the answers' speed that is asked for, not their worth."""
    import rootstock

    rng = random.Random(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    plans = {"classifier": ("full", "c")} | {f"adapter{i}": ("lora", f"a{i}") for i in range(options.adapters)}
    for name, (method, mark) in plans.items():
        if (options.folder / name / "manifest.json").exists():
            continue
        rows = options.folder / f"{name}.csv"
        with rows.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("text", "label"))
            writer.writerows((text_of(rng), f"{mark}-{rng.choice(('no', 'yes'))}") for _ in range(64))
        rootstock.adapt(rows, base=options.base, method=method, out=options.folder / name, training={"epochs": 1}, seed=1)
        print(name, flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def process(line: list[str], port: int, log: Path | None = None):
    """A server, once it answers its first connection."""
    with (log or Path(os.devnull)).open("wb") as stream:
        started = subprocess.Popen(line, env=environment(), stderr=stream, stdout=subprocess.DEVNULL)
        try:
            for _ in range(6000):
                if started.poll() is not None:
                    raise SystemExit(f"{line} ended with {started.returncode}" + (f":\n{log.read_text()[-2000:]}" if log else ""))
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise SystemExit(f"{line} does not listen after ten minutes")
            yield started
        finally:
            started.kill()
            started.wait()


def ours(*words: str, port: int, log: Path | None = None):
    return process(command("serve", *words, "--port", str(port)), port, log)


def peer(folder: Path, kind: str, port: int):
    return process([sys.executable, str(HERE / "serving_peer.py"), str(folder / "classifier" / "model"), str(port), kind], port)


def contents(path: str, count: int = 500) -> list[bytes]:
    rng = random.Random(1)
    return [load.request(path, {"inputs": [text_of(rng)]}) for _ in range(count)]


def save(name: str, found: dict) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"serving-{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


OURS = "/v1/models/classifier:predict"


def agreement(port: int, other: int) -> float:
    """Share of texts to which both servers give the same label."""
    rng, same = random.Random(2), 0
    texts = [text_of(rng) for _ in range(64)]

    async def ask():
        line, beside = await load.connect(port), await load.connect(other)
        found = await line.ask(load.request(OURS, {"inputs": texts})), await beside.ask(load.request("/predict", {"inputs": texts}))
        return [json.loads(content) for _, content in found]

    mine, theirs = load.run(ask())
    same = sum(a["predicted"] == b["label"] for a, b in zip(mine["predictions"], theirs, strict=True))
    return same / len(texts)


def speed(options: argparse.Namespace) -> None:
    ports = {name: free_port() for name in ("rootstock", "plain", "queued")}
    rates: dict[str, list[dict]] = {name: [] for name in ports}
    with (
        ours(str(options.folder / "classifier"), port=ports["rootstock"]),
        peer(options.folder, "plain", ports["plain"]),
        peer(options.folder, "queued", ports["queued"]),
    ):
        same = agreement(ports["rootstock"], ports["plain"])
        for number in range(options.rounds + 1):  # the first warms up
            for name, port in ports.items():
                asked = contents(OURS if name == "rootstock" else "/predict")
                found = load.run(load.closed(port, asked, options.seconds if number else min(options.seconds, 3)))
                rates[name] += [found] * bool(number)
                print(name, found["rate"], found["p50_ms"], flush=True)
    middle = {name: statistics.median(each["rate"] for each in found) for name, found in rates.items()}
    ratios = {
        name: sorted(a["rate"] / b["rate"] for a, b in zip(rates["rootstock"], rates[name], strict=True)) for name in ("plain", "queued")
    }
    told = {name: {"median": statistics.median(each), "least": each[0], "most": each[-1]} for name, each in ratios.items()}
    save("speed", {"same_labels": same, "median_rate": middle, "times_as_fast": told, "rounds": rates})


def latency(options: argparse.Namespace) -> None:
    """In short rounds, each at 70 % of a capacity that is seconds old: beside neighbours it is another from minute to minute, and at 70 % of
    what was there before a queue may grow without end. Capacity is measured after each round too: where it fell, the round says so. Requests
    that are lost or turned away count, as slower than all others: where they are one in a hundred there is no p99 (null).
    """
    found: dict[str, dict] = {}
    for name in options.servers:
        port, part = free_port(), options.seconds / options.rounds
        asked = contents(OURS if name == "rootstock" else "/predict")
        with ours(str(options.folder / "classifier"), port=port) if name == "rootstock" else peer(options.folder, name, port):
            load.run(load.closed(port, asked, 3))
            rounds, capacity = [], load.run(load.closed(port, asked, max(part / 4, 2)))["rate"]
            for number in range(options.rounds):
                held = load.run(load.arriving(port, asked, part, 0.7 * capacity, seed=number))
                after = load.run(load.closed(port, asked, max(part / 4, 2)))["rate"]
                over = held["p99_ms"] / held["p50_ms"] if held["p99_ms"] else math.inf
                rounds.append({"capacity": capacity, "capacity_after": after, **held, "p99_over_p50": load.rounded(over)})
                capacity = after
        steady = [each for each in rounds if each["capacity_after"] > 0.85 * each["capacity"]]
        ratios = sorted(each["p99_over_p50"] or math.inf for each in steady or rounds)
        told = dict(zip(("median", "least", "most"), map(load.rounded, (statistics.median(ratios), ratios[0], ratios[-1])), strict=True))
        told |= {"steady_rounds": len(steady), "lost": sum(each["lost"] for each in rounds)}
        found[name] = {"p99_over_p50": told, "rounds": rounds}
        save("latency", found)  # what is measured stays, whatever becomes of the next server


def memory_kb(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


class Storm:
    """3 × capacity for a while. Each answer is held against the one that the same model gave to the same text in peace."""

    def __init__(self, port: int, seconds: float, names: list[str]) -> None:
        self.port, self.seconds, self.rng = port, seconds, random.Random(3)
        self.texts = [text_of(self.rng) for _ in range(40)]
        self.names = names
        self.wanted: dict[tuple[str, int], dict] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.seconds_of: list[float] = []
        self.signalled = self.stopped = False

    def content(self, name: str, number: int) -> bytes:
        return load.request(f"/v1/models/{name}:predict", {"inputs": [self.texts[number]]})

    async def peace(self) -> float:
        """The right answers, and the capacity."""
        line = await load.connect(self.port)
        for name in self.names:
            for number in range(len(self.texts)):
                status, content = await line.ask(self.content(name, number))
                assert status == 200, content
                self.wanted[name, number] = json.loads(content)["predictions"][0]
        asked = [self.content(name, number) for name in self.names for number in range(len(self.texts))]
        return (await load.closed(self.port, asked, min(10, self.seconds / 4)))["rate"]

    async def one(self, pool: load.Pool) -> None:
        name, number = self.rng.choice(self.names), self.rng.randrange(len(self.texts))
        after, started = self.signalled, time.perf_counter()
        self.counts["asked"] += 1
        try:
            line = await pool.take()
        except OSError:
            self.counts["no_connection_after_signal" if self.signalled else "no_connection"] += 1
            return
        leaves = self.rng.random() < 0.1
        try:
            asking = asyncio.ensure_future(line.ask(self.content(name, number)))
            if leaves:
                await asyncio.sleep(self.rng.random() * 0.1)
                self.counts["hung_up"] += 1
                line.transport.abort()
                asking.cancel()
                return
            status, content = await asking
        except OSError:
            self.counts["reset_after_signal" if after else "reset_across_signal" if self.signalled else "reset"] += 1
            return
        pool.give(line)
        self.counts[f"status_{status}"] += 1
        if status == 200:
            self.seconds_of.append(time.perf_counter() - started)
            self.check(name, number, json.loads(content)["predictions"][0])

    def check(self, name: str, number: int, found: dict) -> None:
        wanted, mark = self.wanted[name, number], f"a{name.removeprefix('adapter')}-"
        if not found["predicted"].startswith(mark):
            self.counts["wrong_adapter"] += 1
        elif abs(found["confidence"] - wanted["confidence"]) > 0.02 or (
            found["predicted"] != wanted["predicted"] and wanted["confidence"] > 0.52
        ):
            self.counts["wrong_answer"] += 1

    async def storm(self, rate: float, moving, pid: int, ended) -> list[int]:
        pool, inside, memory = load.Pool(self.port), set(), []
        begun = due = time.perf_counter()
        seconds = 0
        while (due := due + self.rng.expovariate(rate)) < begun + self.seconds + 3:
            now = time.perf_counter() - begun
            if due - begun > now:
                await asyncio.sleep(due - begun - now)
            if now >= seconds + 1 and not self.signalled:
                seconds += 1
                memory.append(memory_kb(pid))
                moving(seconds)
            if now >= self.seconds and not self.signalled:
                self.signalled = True
                os.kill(pid, signal.SIGTERM)
            if len(inside) < 3000:
                task = asyncio.ensure_future(self.one(pool))
                inside.add(task)
                task.add_done_callback(inside.discard)
            else:
                self.counts["held_back"] += 1
        await asyncio.gather(*inside)
        for line in pool.free:
            line.transport.close()
        self.counts["exit_code"] = await asyncio.to_thread(ended)
        return memory


def nameless(error: str) -> str:
    """The first line of an error, without the paths and names in it: what kind it is."""
    return re.sub(r"adapter\d+", "NAME", re.sub(r"/\S+", "PATH", error.splitlines()[0]))


def overload(options: argparse.Namespace) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        models, aside, log = Path(place) / "models", Path(place) / "aside", Path(place) / "log"
        models.mkdir()
        aside.mkdir()
        names = sorted(each.parent.name for each in options.folder.glob("adapter*/manifest.json"))
        hot = min(HOT, len(names) // 2)
        for name in names:
            shutil.copytree(options.folder / name, models / name)

        def moving(second: int) -> None:
            """Each second one of the hot models comes or goes: by a rename, as a deployment would."""
            name = names[second % hot]
            here, there = (models / name, aside / name)
            here.rename(there) if here.exists() else there.rename(here)

        with ours("--models", str(models), "--watch", port=port, log=log) as server:
            storm = Storm(port, options.seconds, names)
            capacity = load.run(storm.peace())
            memory = load.run(storm.storm(3 * capacity, moving, server.pid, lambda: server.wait(120)))
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    events = collections.Counter(line["event"] for line in lines)
    said = collections.Counter(nameless(line["error"]) for line in lines if line["event"] == "error")
    at = next(i for i, line in enumerate(lines) if line["event"] == "draining")
    after = collections.Counter(line["status"] for line in lines[at:] if line["event"] == "request")
    third = max(len(memory) // 3, 1)
    first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
    tally = load.Tally(seconds=storm.seconds_of)
    save(
        "overload",
        {
            "capacity": capacity,
            "counts": dict(sorted(storm.counts.items())),
            "p50_ms": load.rounded(tally.quantile(0.5) * 1000),
            "p99_ms": load.rounded(tally.quantile(0.99) * 1000),
            "server_events": dict(events),
            "errors_said": dict(said.most_common(10)),
            "inside_at_signal": lines[at]["inside"],
            "lost_accepted": lines[at]["inside"] - sum(count for status, count in after.items() if status != 503),
            "answered_after_signal": {str(key): value for key, value in sorted(after.items())},
            "memory_mb": {"first_third": round(first / 1024, 1), "last_third": round(last / 1024, 1), "growth": round(last / first - 1, 4)},
            "memory_each_second_mb": [round(each / 1024, 1) for each in memory],
        },
    )


def malformed(options: argparse.Namespace) -> None:
    port, rng = free_port(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place, ours(str(options.folder / "classifier"), port=port, log=Path(place) / "log"):
        statuses: collections.Counter[str] = collections.Counter()
        odd = []
        for _ in range(options.count):
            content = serving_fuzz.wrong(rng, "classifier")
            status = load.raw(port, content, seconds=120)  # a silence is a fault; how long an answer takes is measured elsewhere
            statuses[str(status)] += 1
            if status is None or not 400 <= status < 500:
                odd.append({"status": status, "request": content[:300].decode("latin-1")})
        found = {"requests": options.count, "statuses": dict(sorted(statuses.items())), "not_4xx": len(odd), "of_these": odd[:20]}
        found["alive"] = load.raw(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found["log"] = dict(
            collections.Counter(json.loads(line)["event"] for line in (Path(place) / "log").read_text().splitlines() if line[:1] == "{")
        )
        found["schemathesis"] = schemathesis(port, options.examples)
    save("malformed", found)


def schemathesis(port: int, examples: int) -> dict | str:
    """Its own command against our description: what it makes must never get a 5xx."""
    found = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        return "not installed"
    words = [found, "run", f"http://127.0.0.1:{port}/openapi.json", "--checks", "not_a_server_error", "--mode", "all", "--seed", "1"]
    told = subprocess.run(
        [*words, "--max-examples", str(examples), "--no-color"], capture_output=True, text=True, timeout=3600, check=False
    )
    return {"exit_code": told.returncode, "said": told.stdout.splitlines()[-25:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("prepare", "speed", "latency", "overload", "malformed"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", nargs="+", default=["rootstock"], choices=("rootstock", "plain", "queued"))
    options = parser.parse_args()
    options.seconds = options.seconds or {"speed": 20.0, "latency": 60.0, "overload": 600.0}.get(options.name, 0.0)
    globals()[options.name](options)


if __name__ == "__main__":
    main()
