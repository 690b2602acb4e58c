"""Help and lists answer at once: nothing heavy is imported before it is needed, and every verb explains itself."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rootstock import catalog
from rootstock.cli.main import VERBS, app
from rootstock.core.objective import Objective

HEAVY = ("torch", "transformers", "pyarrow", "numpy", "scipy", "sklearn", "peft", "accelerate", "datasets", "rootstock.core.settings")
"""The last stands for our use of pydantic: typer itself imports the package while it reads a command's arguments."""
VERBS_AND_GROUPS = [*([verb] for verb in VERBS), ["recipe"], ["recipe", "show"], ["recipe", "schema"]]

PROBE = """
import sys
from rootstock.cli.main import main
sys.argv = ["rootstock", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {heavy!r} if name in sys.modules]
sys.stderr.write("heavy:" + ",".join(heavy))
"""


def probe(*arguments):
    """Standard output of a command in a fresh interpreter, and which heavy packages it imported."""
    made = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return made.stdout, made.stderr.rpartition("heavy:")[2]


@pytest.mark.parametrize("arguments", [["--help"], ["tasks"], ["methods"], ["tasks", "--json"], ["adapt", "--help"]], ids=" ".join)
def test_lists_and_help_import_nothing_heavy(arguments):
    shown, heavy = probe(*arguments)
    assert shown
    assert heavy == ""


def test_the_probe_sees_what_is_imported():
    assert "rootstock.core.settings" in probe("recipe", "show")[1]


def test_the_front_page_needs_no_pydantic_either():
    made = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=("pydantic",)), "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert made.stderr.endswith("heavy:")


@pytest.mark.parametrize("kind", ["tasks", "methods"])
def test_lists_name_everything_with_a_summary(kind):
    lines = CliRunner().invoke(app, [kind]).stdout.splitlines()
    for name in catalog.names(kind):
        assert any(line.split()[0] == name and line.endswith(catalog.summary(kind, name)) for line in lines)


def test_tasks_stand_under_the_verb_that_takes_them():
    lines = CliRunner().invoke(app, ["tasks"]).stdout.splitlines()
    headings = [place for place, line in enumerate(lines) if not line.startswith("  ")]
    assert [lines[place].split(":")[0] for place in headings] == ["for adapt", "for pretrain"]
    own = {line.split()[0] for line in lines[: headings[1]] if line.startswith("  ")}
    assert own == {name for name in catalog.names("tasks") if not issubclass(catalog.find("tasks", name), Objective)}


@pytest.mark.parametrize("words", VERBS_AND_GROUPS, ids=" ".join)
def test_every_verb_has_help(words):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.stdout
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    assert (command.help or "").strip(), f"{' '.join(words)} says nothing of itself"
    for option in command.params:
        assert getattr(option, "help", "") or option.name == "help", f"{' '.join(words)} {option.name} has no help"


def test_an_unknown_verb_is_wrong_usage():
    assert CliRunner().invoke(app, ["adpat"]).exit_code == 2


def test_the_version_is_the_packages():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == version("rootstock")
