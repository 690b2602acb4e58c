"""What did a model learn?"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def probe(
    base: Annotated[str, Argument(help="A base, a run folder, or a folder of a model.")],
    suite: Annotated[str | None, Option(help="blimp, pos, order, images, task; with commas between [all that the data allows].")] = None,
    data: Annotated[
        list[str] | None,
        Option(help="SUITE=PATH, or a PATH: BLiMP's zip, folder or JSONL; a treebank; class folders of images; labelled rows; repeatable."),
    ] = None,
    limit: Annotated[
        int, Option(help="Pairs of each paradigm; probes learn from 100 times as many words, 50 times pairs or images, 20 times rows.")
    ] = 100,
    masking: Annotated[str, Option(help="What a masked model must not see: word (the token and the rest of its word) or token.")] = "word",
    caption: Annotated[
        str | None, Option(help="What is said of an image: {} is its class [as its run said it, or a photo of a {}].")
    ] = None,
    beside_random: Annotated[bool, Option(help="Ask the same of the architecture with random weights.")] = True,
    change: Annotated[list[str] | None, Option("--set", help="How labelled rows are read: task.text=COLUMN, task.label=COLUMN, …")] = None,
    seed: Annotated[int, Option(help="Draws pairs, words, images, control tags and random weights.")] = 0,
    out: Annotated[Path | None, Option(help="Folder for probes.json and probes.html; it may be the run's own.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace probes that lie there.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """What did it learn? Minimal pairs; linear probes for parts of speech and sentence order in each layer; images; your own task."""
    from rootstock.cli.console import Console, assignments, show
    from rootstock.core.watch import Watch
    from rootstock.report.probe_text import as_text
    from rootstock.verbs import probe as probing

    more = {"limit": limit, "masking": masking, "caption": caption, "beside_random": beside_random, "seed": seed}
    plan = probing.told(suite, data or [], **more, changes=assignments(change or []))
    if out is not None:
        probing.check_place(out, base, overwrite=overwrite)
    console = Console()
    found = probing.probe(base, plan, Watch(say=console.say, event=console.event))
    if out is not None:
        probing.write(found, out)
        console.say(f"written   {out / probing.FILES[0]} and {out / probing.FILES[1]}")
    show(found, as_text(found), as_json=as_json)
