"""Search for settings: `rootstock search reviews.csv --space training.rate=1e-5:1e-3`."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option


def search(
    data: Annotated[str, Argument(help="Labelled rows, as adapt takes them; or a recipe.yaml to vary.")],
    space: Annotated[list[str] | None, Option(help="A key and its values: section.key=low:high, or =a,b,c. Once for each key.")] = None,
    trials: Annotated[int, Option(help="Trials in all, those of an earlier search in this folder included.", min=1)] = 20,
    base: Annotated[str | None, Option(help="minilm, a folder, a run, a hub id[@revision], or scratch:<architecture>.")] = None,
    method: Annotated[str | None, Option(help="auto, or one of `rootstock methods`.")] = None,
    task: Annotated[str | None, Option(help="auto, or one of `rootstock tasks`.")] = None,
    validation: Annotated[str | None, Option(help="A file of validation rows, or the share to hold out [0.1].")] = None,
    accept: Annotated[list[str] | None, Option(help="A finding of the ledger that may exceed its limit.")] = None,
    change: Annotated[list[str] | None, Option("--set", help="Any key of the recipe: section.key=value.")] = None,
    storage: Annotated[str | None, Option(help="Database URL that several workers share [SQLite in the folder].")] = None,
    engine: Annotated[str | None, Option(help="ray: trials side by side, on the cores at hand or a cluster [torch: one by one].")] = None,
    out: Annotated[Path, Option(help="Folder; a search that lies there is gone on with.")] = Path("runs/search"),
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try settings, stop losers early, keep the best run."""
    from rootstock import STARTED
    from rootstock.cli import _start
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.watch import Stops, Watch
    from rootstock.verbs import api, search_trial
    from rootstock.verbs import search as searching

    given: dict[str, Any] = {
        "base": base, "method.name": method, "task.name": task, "data.validation": validation, "accept": accept,
    }  # fmt: skip
    asked = {key: value for key, value in given.items() if value is not None}
    changes = assignments(change or [])
    varied = data.endswith((".yaml", ".yml"))
    recipe = api.again(Path(data), asked | changes) if varied else _start.recipe_for(data, asked, changes)
    ranges = {key: search_trial.read_range(key, text) for key, _, text in (each.partition("=") for each in space or [])}
    searching.check_place(out)
    console = Console()
    with Stops(console.say) as stops:
        watch = Watch(say=console.say, event=console.event, stop=stops.asked, started=STARTED)
        plan = search_trial.Plan(recipe=recipe, space=ranges, trials=trials, out=out, storage=storage, engine=engine or "torch")
        found = searching.search(plan, watch)
    show(found, searching.as_text(found), as_json=as_json)
