"""Write a run for use elsewhere: `rootstock export runs/reviews --to merged`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def export(
    runs: Annotated[list[Path], Argument(help="A run folder, or several over one base to make one model of.")],
    out: Annotated[Path | None, Option(help="Folder to write [here, under the run's name and the form: reviews-onnx].")] = None,
    to: Annotated[str, Option(help="merged (one plain model), onnx, int8, gguf or vllm.")] = "merged",
    combine: Annotated[str | None, Option(help="Of several runs: linear, ties, dare or dare-ties [linear].")] = None,
    weights: Annotated[str | None, Option(help="Of several runs: a weight for each, such as 0.7,0.3 [equal, 1 in all].")] = None,
    density: Annotated[float | None, Option(help="Share of each update that is kept [0.2 with ties, 0.5 with dare].")] = None,
    seed: Annotated[int | None, Option(help="Seed of what dare drops [42].")] = None,
    head_from: Annotated[Path | None, Option(help="The run whose head the model gets [the mean of all, which must answer alike].")] = None,
    rows: Annotated[str | None, Option(help="Labelled rows to compare on [the run's own validation rows].")] = None,
    tolerance: Annotated[
        float | None, Option(help="How far answers may move, of int8 the share that may be others [the form's own].")
    ] = None,
    precision: Annotated[str | None, Option(help="gguf: numbers of its weights: f32, f16 or q8_0 [f16].")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a run for use elsewhere, its answers compared with the run's own first; or several runs combined."""
    from rootstock.bases.combine import Combination
    from rootstock.cli.console import Console, show
    from rootstock.verbs import export as exporting
    from rootstock.verbs.exporting import Options

    given = {"how": combine, "weights": exporting.numbers(weights), "density": density, "seed": seed}
    asked = {key: value for key, value in given.items() if value is not None}
    combination = Combination.build(asked, "") if asked else None
    options = Options(combination=combination, head_from=head_from, rows=rows, tolerance=tolerance, precision=precision)
    place = out or exporting.place(runs, to)
    found = exporting.export(runs, to, place, options, Console().say)
    show(found, exporting.as_text(found, place), as_json=as_json)
