"""Which one? Methods and bases on the same labelled rows; or objectives on one corpus and one budget."""

from pathlib import Path

from typer import Context

from rootstock.cli import _compare as options


def compare(
    context: Context,
    targets: options.Targets,
    methods: options.Methods = None,
    bases: options.Bases = None,
    seeds: options.Seeds = 3,
    minutes: options.Minutes = None,
    learning_curve: options.Curve = None,
    sweep: options.Sweep = None,
    halving: options.Halving = True,
    keep: options.Keep = None,
    freeze: options.Freeze = None,
    engine: options.Engine = None,
    downstream: options.Downstream = None,
    objectives: options.Objectives = None,
    evolution: options.Evolution = False,
    flops: options.Flops = None,
    tokens: options.Tokens = None,
    rows: options.Rows = "100,500,all",
    rates: options.Rates = "2e-4,1e-3",
    size: options.Size = "tiny",
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    column: options.Columns = None,
    pretrain: options.Pretrain = None,
    accept: options.Accept = None,
    change: options.Change = None,
    out: options.Out = Path("runs/compare"),
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Measure which method and base suit labelled rows; or what objectives are worth, pre-trained at equal compute and adapted."""
    options.carry_out(context)
