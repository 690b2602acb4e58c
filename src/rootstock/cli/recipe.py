"""What a recipe may hold."""

import typer

app = typer.Typer(help="The recipe's schema, and a commented default.", no_args_is_help=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from rootstock.cli.console import show
    from rootstock.run.schema import json_schema

    show(json_schema(), "", as_json=True)


@app.command()
def show() -> None:
    """Print a commented recipe with every default."""
    from rootstock.cli.console import show
    from rootstock.run.schema import commented

    show(None, commented(), as_json=False)
