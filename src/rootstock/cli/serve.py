"""Serve finished runs over HTTP."""

from pathlib import Path
from typing import Annotated

from typer import Option

from rootstock.cli._serve import Change, Host, MaxBody, Rate, Runs, Signed, TokenFile


def serve(
    runs: Runs = None,
    models: Annotated[Path | None, Option(help="A folder of runs, all of which are served.")] = None,
    watch: Annotated[bool, Option("--watch", help="Look at --models every second: runs appear, change and go while serving.")] = False,
    host: Host = "127.0.0.1",
    port: Annotated[int, Option(help="Port; 0: any that is free.", min=0, max=65535)] = 8000,
    token_file: TokenFile = None,
    require_signature: Signed = False,
    trust: Annotated[Path | None, Option(help="Trust store, in place of your own.")] = None,
    tls_cert: Annotated[Path | None, Option(help="Certificate (PEM); serves https.")] = None,
    tls_key: Annotated[Path | None, Option(help="Its key (PEM).")] = None,
    cors_origin: Annotated[list[str] | None, Option(help="A web page that may ask, such as https://app.example.com.")] = None,
    rate: Rate = None,
    max_body: MaxBody = "1MB",
    max_rows: Annotated[int, Option(help="Rows of one request.")] = 256,
    max_tokens: Annotated[int, Option(help="Tokens that one request may have written.")] = 1024,
    max_loaded: Annotated[int, Option(help="Models in memory; others are read when they are asked for.")] = 128,
    precision: Annotated[str, Option(help="auto, float32, bfloat16 or int8.")] = "auto",
    change: Change = None,
) -> None:
    """Answer over HTTP with finished runs: predictions, vectors, texts; OpenAI's clients work unchanged. SIGTERM lets it finish."""
    from rootstock.cli.console import Console, assignments
    from rootstock.serving.limits import Limits
    from rootstock.verbs import serving

    asked = serving.Asked(
        runs=runs or (),
        models=models,
        watch=watch,
        host=host,
        port=port,
        token_file=token_file,
        signed=require_signature,
        trust=trust,
        certificate=tls_cert,
        key=tls_key,
        origins=tuple(cors_origin or ()),
        limits=Limits(body_bytes=serving.size(max_body), rows=max_rows, tokens=max_tokens, rate=rate),
        engine=serving.engine_settings({"max_loaded": max_loaded, "precision": precision} | assignments(change or [])),
    )
    serving.serve(asked, Console().say)
