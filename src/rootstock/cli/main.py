"""The command: one file a verb; errors become messages and exit codes here and nowhere else."""

import sys
from collections.abc import Callable

import typer

from rootstock.cli import adapt, diff, evaluate, inspect, methods, predict, recipe, run, tasks, verify_resume

app = typer.Typer(name="rootstock", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
VERBS: dict[str, Callable[..., None]] = {
    "adapt": adapt.adapt,
    "run": run.run,
    "predict": predict.predict,
    "evaluate": evaluate.evaluate,
    "inspect": inspect.inspect,
    "verify-resume": verify_resume.verify_resume,
    "diff": diff.diff,
    "tasks": tasks.tasks,
    "methods": methods.methods,
}
for name, verb in VERBS.items():
    app.command(name)(verb)
app.add_typer(recipe.app, name="recipe")


@app.callback()
def rootstock() -> None:
    """From labelled rows and a pre-trained base to a model that is measured and can be trusted."""


def main() -> None:
    """Run a verb. Exit codes: 0 done, 1 the run failed, 2 wrong usage or data, 3 refused by a gate, 130 interrupted."""
    from rootstock.core.errors import RootstockError

    try:
        app()
    except RootstockError as error:
        _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except MemoryError:
        _say("no memory left\nfix: lower training.micro_tokens or data.rows, or close other programs", 1)


def _say(message: str, code: int) -> None:
    first, *rest = message.splitlines()
    sys.stderr.write("\n".join([f"rootstock: {first}", *(f"           {line}" for line in rest)]) + "\n")
    raise SystemExit(code)
