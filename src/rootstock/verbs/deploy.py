"""The verb deploy: the engine of `rootstock serve` as a Ray Serve application, where one machine is too small.

One deployment is the door: HTTP, tokens, limits, as on one machine. It has no model itself: each request goes by its model's name to a
replica of the second deployment, which has an engine of its own. Ray's multiplexing knows which replica has which models in memory.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rootstock.core.errors import RunFailed, UsageError
from rootstock.core.modules import needed
from rootstock.core.watch import Say
from rootstock.corpus import on_ray
from rootstock.run.prepared import device_name
from rootstock.sentinel.provenance.checker import ModelProvenanceChecker
from rootstock.serving.engine import Engine
from rootstock.serving.limits import Tokens, read_tokens
from rootstock.serving.replica import Reader, Replica
from rootstock.serving.settings import EngineSettings
from rootstock.serving.told import ModelInfo
from rootstock.verbs import serving
from rootstock.verbs.serving import Asked, Opener

APP, DOOR, MODELS = "rootstock", "door", "models"
"""Names of the application and of its two deployments, as Ray's tools show them."""
_LEAVE_SECONDS = 30.0
"""How long a replica that is to go may take for what it was asked before."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many replicas there are at least and at most; the number follows the traffic between."""

    least: int = 1
    most: int = 1

    @classmethod
    def read(cls, text: str) -> "Size":
        """`2`, or `1-8`. Raises UsageError."""
        first, dash, last = text.partition("-")
        numbers = [each for each in (first, last if dash else first) if each.isascii() and each.isdigit() and len(each) < 6]
        if len(numbers) < 2 or not 0 <= int(numbers[0]) <= int(numbers[1]) or int(numbers[1]) < 1:
            raise UsageError(f"--replicas {text}", wanted="a number, or the least and the most, such as 1-8")
        return cls(least=int(numbers[0]), most=int(numbers[1]))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """asked: what is served, and to whom. cpus, gpus: of a replica. ongoing: requests that one replica should have at a time.

    detach: leave it running on the cluster that RAY_ADDRESS names. overwrite: in the place of the one that runs there.
    """

    asked: Asked
    size: Size = field(default_factory=Size)
    cpus: int = 1
    gpus: float = 0.0
    ongoing: int = 32
    detach: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raises UsageError for what makes no sense together."""
        self.asked.check()
        for name, value, least in (("cpus", self.cpus, 1), ("gpus", self.gpus, 0), ("ongoing", self.ongoing, 1)):
            if value < least:
                raise UsageError(f"--{name} is {value:g}", wanted=f"{least} or more")
        if self.detach and not os.environ.get("RAY_ADDRESS"):
            raise UsageError("--detach, and no cluster", wanted="RAY_ADDRESS", fix="start one: ray start --head; export RAY_ADDRESS=auto")

    @property
    def engine(self) -> EngineSettings:
        """Of a replica: it has as many workers as cores are its own."""
        return self.asked.engine if self.asked.engine.threads else replace(self.asked.engine, threads=self.cpus)

    def models_options(self) -> dict[str, Any]:
        """Of the deployment of replicas. A request beyond what may wait is told to come again, as by one engine."""
        most = self.asked.limits.requests
        return {
            "name": MODELS,
            "ray_actor_options": {"num_cpus": self.cpus, "num_gpus": self.gpus},
            "max_ongoing_requests": most,
            "max_queued_requests": most,
            "graceful_shutdown_timeout_s": _LEAVE_SECONDS,
            **_count(self.size, self.ongoing),
        }

    def door_options(self) -> dict[str, Any]:
        """Of the door. Where requests a minute are counted, one door counts them all."""
        most = self.asked.limits.requests
        size = Size() if self.asked.limits.rate else Size(least=1, most=self.size.most)
        return {
            "name": DOOR,
            "ray_actor_options": {"num_cpus": 0},
            "max_ongoing_requests": 2 * most,
            "graceful_shutdown_timeout_s": _LEAVE_SECONDS,
            **_count(size, most // 4),
        }


def _count(size: Size, ongoing: int) -> dict[str, Any]:
    if size.least == size.most:
        return {"num_replicas": size.least}
    bounds = {"min_replicas": size.least, "initial_replicas": max(size.least, 1), "max_replicas": size.most}
    return {"autoscaling_config": {**bounds, "target_ongoing_requests": ongoing}}


def deploy(plan: Plan, say: Say) -> None:
    """Deploy, and wait until told to stop; detached, leave it there. Raises UsageError or Refused before anything is deployed."""
    plan.check()
    on_ray.prepare()
    ray = needed("ray", "rootstock deploy --ray", extra="ray", otherwise="serve on this machine: rootstock serve")
    serve = needed("ray.serve", "rootstock deploy --ray", extra="ray", otherwise="serve on this machine: rootstock serve")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # of how it comes up; Ray's folder of logs has the rest
    for module in ("fastapi", "prometheus_client"):
        needed(module, "rootstock deploy --ray", extra="ray")
    asked = plan.asked
    folders = _folders(asked)
    tokens = read_tokens(asked.token_file) if asked.token_file else None
    infos = _looked_at(folders, asked)
    for info in infos:
        say(f"checked   {info.name}  {info.task or 'base'}  {info.method}  on {info.base}")
    if not os.environ.get("RAY_ADDRESS"):
        _place(asked).bound().close()  # Ray's own proxy would say nothing of a port that is taken
    with on_ray.session(ray, otherwise="serve here: rootstock serve"):
        _check_room(ray, plan)
        serve.start(proxy_location="HeadOnly" if not plan.detach else "EveryNode", http_options={"host": asked.host, "port": asked.port})
        _check_free(serve, plan)
        try:
            _run(serve, application(serve, plan, folders, infos, tokens))
            shown = f"{plan.size.least} to {plan.size.most}" if plan.size.most > plan.size.least else f"{plan.size.least}"
            say(f"serving   {len(infos):,} models at http://{asked.host}:{asked.port} by {shown} replicas  (Ctrl-C ends)")
            if plan.detach:
                return say(f"note      it goes on; `serve status` shows it, and serve.delete({APP!r}) ends it")
            _until_told()
            say("ending    what was accepted is answered")
        finally:
            if not plan.detach:  # a cluster would keep it, also where it never came up
                serve.delete(APP)


def _run(serve: Any, made: Any) -> None:
    try:
        serve.run(made, name=APP, route_prefix="/")
    except RuntimeError as error:  # what Ray raises where a deployment does not come up
        why = str(error).strip().split("\n")[0]
        raise RunFailed(f"Ray Serve does not start the application: {why}", fix="Ray's logs say more: /tmp/ray/session_latest") from error


def application(serve: Any, plan: Plan, folders: dict[str, Path], infos: Sequence[ModelInfo], tokens: Tokens | None) -> Any:
    """What Ray runs. serve: the module ray.serve."""
    make = partial(engine_of, plan.engine, signed=plan.asked.signed, trust=plan.asked.trust)
    models = serve.deployment(**plan.models_options())(Replica).bind(make, folders, multiplexed)
    built = door_of(plan.asked, tuple(infos), tokens)
    return serve.deployment(**plan.door_options())(serve.ingress(built)()).bind(models)


def engine_of(settings: EngineSettings, *, signed: bool, trust: Path | None) -> Engine:
    """A replica's engine, without models."""
    return Engine(settings, Opener(ModelProvenanceChecker(trust_store=trust) if signed else None), device=device_name())


def multiplexed(read: Reader, most: int) -> Reader:
    """Ray's own memory of the latest models; its router sends requests where it says that their model is."""
    found: Reader = needed("ray.serve", "a replica", extra="ray").multiplexed(max_num_models_per_replica=most)(read)
    return found


def door_of(asked: Asked, infos: tuple[ModelInfo, ...], tokens: Tokens | None) -> Callable[[], Any]:
    """What makes the door's application, in the process where it will be."""

    def built() -> Any:
        from rootstock.serving.app import front
        from rootstock.serving.journal import Journal
        from rootstock.serving.remote import Failures, RemoteEngine

        ray, serve = needed("ray.exceptions", "a door", extra="ray"), needed("ray.serve", "a door", extra="ray")
        said = needed("ray.serve.exceptions", "a door", extra="ray")
        failures = Failures(
            any=(ray.RayError, said.RayServeException),
            busy=(said.BackPressureError,),
            lost=(ray.RayActorError, said.DeploymentUnavailableError),
        )
        engine: Any = RemoteEngine(serve.get_deployment_handle(MODELS, app_name=APP), infos, failures)
        return front(engine, serving.rules(asked, tokens, _place(asked)), Journal()).app

    return built


def _place(asked: Asked) -> Any:
    from rootstock.serving.process import Place

    return Place(host=asked.host, port=asked.port)


def _folders(asked: Asked) -> dict[str, Path]:
    """Absolute, as other machines open them too; a base by its name stays that. A folder of models counts as it stands now."""
    from rootstock.core.runfolder import RunFolder
    from rootstock.serving.watched import NAME

    found = serving.named_folders(asked.runs)
    for each in sorted(asked.models.iterdir()) if asked.models else ():
        if NAME.fullmatch(each.name) and each.name not in found and RunFolder(each).complete:
            found[each.name] = each
    if not found:
        raise UsageError(f"{asked.models} holds no run that can be served", wanted="finished runs")
    return {name: folder.absolute() if folder.exists() else folder for name, folder in found.items()}


def _looked_at(folders: dict[str, Path], asked: Asked) -> list[ModelInfo]:
    """What the models are, each past gate and contract here first; their weights are read where they are served."""
    engine = engine_of(replace(asked.engine, threads=1), signed=asked.signed, trust=asked.trust)
    try:
        return [engine.add(name, folder) for name, folder in folders.items()]
    finally:
        engine.close()


def _check_room(ray: Any, plan: Plan) -> None:
    """Ray waits for cores that a cluster does not have, and says nothing. Raises UsageError."""
    held = ray.cluster_resources()
    for name, each in (("CPU", plan.cpus), ("GPU", plan.gpus)):
        if each * max(plan.size.least, 1) > held.get(name, 0):
            found = f"{max(plan.size.least, 1)} replicas of {each:g} {name}s, and {held.get(name, 0):g} in all"
            raise UsageError(found, wanted="no more than the cluster has", fix="fewer --replicas, --cpus or --gpus")


def _check_free(serve: Any, plan: Plan) -> None:
    """Raises UsageError where another deployment runs on the cluster, which this one would replace, and end when it ends."""
    if not plan.overwrite and APP in serve.status().applications:
        raise UsageError(
            f"a deployment runs on {os.environ.get('RAY_ADDRESS')} already",
            wanted="a cluster that serves none yet",
            fix="--overwrite replaces it; serve status shows it",
        )


def _until_told() -> None:
    """Wait for SIGTERM or Ctrl-C."""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
