"""Legacy checkpoints to safetensors."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def convert(
    paths: Annotated[list[Path], Argument(help="A checkpoint, its shards or their index: of torch, numpy, joblib or TensorFlow.")],
    out: Annotated[Path, Option(help="Folder for model.safetensors and conversion.json.")],
    part: Annotated[str, Option(help="Only the tensors below this name, such as state_dict.")] = "",
    overwrite: Annotated[bool, Option(help="Replace the folder where it exists.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take the tensors out of a checkpoint without running anything in it."""
    from rootstock.cli.console import show
    from rootstock.verbs import converting

    record = converting.convert(paths, out, part=part, overwrite=overwrite)
    show(record, converting.as_text(record, out), as_json=as_json)
