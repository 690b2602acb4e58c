"""Serve finished runs on several machines."""

from pathlib import Path
from typing import Annotated

from typer import Option

from rootstock.cli._serve import Change, Host, MaxBody, Rate, Runs, Signed, TokenFile


def deploy(
    runs: Runs = None,
    ray: Annotated[bool, Option("--ray", help="As a Ray Serve application: on this machine, or on the cluster RAY_ADDRESS.")] = False,
    models: Annotated[Path | None, Option(help="A folder of runs, all of which are served, as it stands now.")] = None,
    replicas: Annotated[str, Option(help="How many engines; 1-8: at least and at most, as the traffic asks.")] = "1",
    cpus: Annotated[int, Option(help="Cores of a replica.")] = 1,
    gpus: Annotated[float, Option(help="GPUs of a replica.")] = 0.0,
    ongoing: Annotated[int, Option(help="Requests that one replica should have at a time; with more, another is started.")] = 32,
    host: Host = "127.0.0.1",
    port: Annotated[int, Option(help="Port.", min=1, max=65535)] = 8000,
    token_file: TokenFile = None,
    require_signature: Signed = False,
    trust: Annotated[Path | None, Option(help="Trust store, in place of your own; on every machine.")] = None,
    rate: Rate = None,
    max_body: MaxBody = "1MB",
    max_loaded: Annotated[int, Option(help="Models in the memory of a replica.")] = 128,
    change: Change = None,
    detach: Annotated[bool, Option("--detach", help="Leave it running on the cluster RAY_ADDRESS.")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the deployment that runs on the cluster.")] = False,
) -> None:
    """Serve on several machines: one door, many engines, each request where its model is in memory. Ctrl-C ends it."""
    from rootstock.cli.console import Console, assignments
    from rootstock.core.errors import UsageError
    from rootstock.serving.limits import Limits
    from rootstock.verbs import deploy as verb
    from rootstock.verbs import serving

    if not ray:
        raise UsageError("rootstock deploy without --ray", wanted="--ray, the one way there is", fix="on one machine: rootstock serve")
    asked = serving.Asked(
        runs=runs or (),
        models=models,
        host=host,
        port=port,
        token_file=token_file,
        signed=require_signature,
        trust=trust,
        limits=Limits(body_bytes=serving.size(max_body), rate=rate),
        engine=serving.engine_settings({"max_loaded": max_loaded} | assignments(change or [])),
    )
    size = verb.Size.read(replicas)
    plan = verb.Plan(asked=asked, size=size, cpus=cpus, gpus=gpus, ongoing=ongoing, detach=detach, overwrite=overwrite)
    verb.deploy(plan, Console().say)
