"""The command: one file a verb; errors become messages and exit codes here and nowhere else."""

import atexit
import gc
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from rootstock import __version__
from rootstock.cli import (
    _worker,
    adapt,
    benchmark,
    compare,
    convert,
    corpus,
    deploy,
    diff,
    evaluate,
    export,
    fill,
    generate,
    inspect,
    lineage,
    methods,
    plan,
    predict,
    pretrain,
    probe,
    recipe,
    run,
    scaling,
    scan,
    search,
    serve,
    sign,
    studio,
    tasks,
    tokenizer,
    verify,
    verify_resume,
)
from rootstock.cli.console import show

app = typer.Typer(name="rootstock", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
VERBS: dict[str, Callable[..., None]] = {
    "pretrain": pretrain.pretrain,
    "adapt": adapt.adapt,
    "run": run.run,
    "plan": plan.plan,
    "search": search.search,
    "compare": compare.compare,
    "benchmark": benchmark.benchmark,
    "predict": predict.predict,
    "evaluate": evaluate.evaluate,
    "export": export.export,
    "inspect": inspect.inspect,
    "probe": probe.probe,
    "fill": fill.fill,
    "generate": generate.generate,
    "serve": serve.serve,
    "deploy": deploy.deploy,
    "studio": studio.studio,
    "scan": scan.scan,
    "convert": convert.convert,
    "verify": verify.verify,
    "sign": sign.sign,
    "lineage": lineage.lineage,
    "verify-resume": verify_resume.verify_resume,
    "diff": diff.diff,
    "tasks": tasks.tasks,
    "methods": methods.methods,
}
for name, verb in VERBS.items():
    app.command(name)(verb)
app.add_typer(corpus.app, name="corpus")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(scaling.app, name="scaling")
app.add_typer(recipe.app, name="recipe")


def _version(asked: bool) -> None:
    if asked:
        show(__version__, __version__, as_json=False)
        raise typer.Exit


@app.callback()
def rootstock(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")] = False,
) -> None:
    """From labelled rows and a pre-trained base to a model that is measured and can be trusted."""


def main() -> None:
    """Run a verb. Exit codes: 0 done, 1 the run failed, 2 wrong usage or data, 3 refused by a gate, 130 interrupted."""
    from rootstock.core.artifact import unwritten
    from rootstock.core.errors import RootstockError, is_memory_shortage
    from rootstock.core.worker import owned, silent

    atexit.register(gc.freeze)  # or the interpreter looks through millions of objects before it ends: a second that a budget would miss
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an old locale can't show every label, and that is no reason to fail
    try:
        _carry_out(sys.argv[1:])
    except RootstockError as error:
        if silent(error):
            raise SystemExit(error.exit_code) from None
        _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        if owned():
            raise SystemExit(130) from None
        _say("interrupted", 130)
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if is_memory_shortage(error):
            _say("no memory left\nfix: lower training.micro_tokens or data.rows, or close other programs", 1)
        if isinstance(error, OSError) and (failed := unwritten(error)):
            _say(str(failed), failed.exit_code)
        if not isinstance(error, OSError) or error.filename is None:
            raise
        _say(f"can't open {str(error.filename)[:200]}: {error.strerror}", 2)


def _carry_out(words: list[str]) -> None:
    """The verb that these words name. A listing has no value to check, for which typer would import pydantic: most of its time."""
    match words:
        case ["tasks" | "methods" as listing, *flags] if flags in ([], ["--json"]):
            VERBS[listing](as_json=bool(flags))
        case ["worker", task]:
            _worker.work(task)
        case ["scan", *words] if plain := scan.plainly(words):
            VERBS["scan"](**plain)
        case _:
            app()


def _say(message: str, code: int) -> None:
    first, *rest = message.splitlines()
    sys.stderr.write("\n".join([f"rootstock: {first}", *(f"           {line}" for line in rest)]) + "\n")
    raise SystemExit(code)
