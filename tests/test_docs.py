"""What is written is true: pages are fresh, links lead somewhere, commands and options exist, examples run, recipes work."""

import ast
import json
import os
import re
import shlex
import textwrap
from functools import cache, partial
from pathlib import Path

import pytest
import yaml
from docs import generate
from typer.main import get_command
from typer.testing import CliRunner

import rootstock
from rootstock import catalog
from rootstock.cli.main import app
from rootstock.core.objective import Objective
from rootstock.core.recipe import Recipe
from rootstock.core.runfolder import read_any, read_recipe
from rootstock.core.stages import StagedRecipe
from rootstock.core.watch import Watch
from rootstock.run.schema import json_schema
from rootstock.verbs import api, stages, verify
from tests.conftest import ONCE, rows_of, write_csv

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RULES = sorted((ROOT / "docs" / "rules").glob("*.md"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
STAGED = [path for path in RECIPES if isinstance(read_any(path), StagedRecipe)]
LATER = {"docs/log.md", "docs/performance.md", "docs/benchmarks.md"}
"""Pages that measurements write; a copy without measurements may lack them."""

SKIPPED = {".venv", ".git", "runs", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "build", "dist"}
PLACEHOLDERS = {"VERB", "…"}
PLUGINS = {"bias-only"}
"""Names that docs/extending.md makes up, and a test below installs."""


def page_name(path):
    return str(path.relative_to(ROOT))


def fenced(text, language):
    """Code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text):
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """Every rootstock command of a page, as words: from blocks of shell, and from code inside sentences."""
    blocks = (re.sub(r"<<'(\w+)'.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL) for block in fenced(text, "sh"))
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(rootstock [^`]+)`", prose(text))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("rootstock ")]


def anchors(text):
    """What the hosts of repositories make of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def meant(key):
    """The key of a recipe that one of a part stands for: its task and data are sections like the recipe's own."""
    found = re.fullmatch(r"task\.parts\.\w+\.(?:((?:task|data)\..+)|(\w+))", key)
    return key if found is None else found[1] or f"task.parts.NAME.{found[2]}"


# Each takes a second to make, and every page is held to them.
COMMAND, SCHEMA, WRITTEN = cache(partial(get_command, app)), cache(json_schema), cache(generate.pages)


@cache
def all_keys():
    return frozenset(recipe_keys(SCHEMA()))


def recipe_keys(schema, where=""):
    """Every key path of the recipe, task and method settings of all kinds included."""
    if "$ref" in schema:
        schema = SCHEMA()["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    parts = [schema, *schema.get("anyOf", [])]
    for name, inner in ((name, inner) for part in parts for name, inner in part.get("properties", {}).items()):
        yield f"{where}{name}"
        yield from recipe_keys(inner, f"{where}{name}.")
        if isinstance(held := inner.get("additionalProperties"), dict):
            yield from recipe_keys(held, f"{where}{name}.NAME.")


# -- pages ----------------------------------------------------------------------------------------------------------------


_PAGES = ("recipe", "tasks", "methods", "rules", "corpus_steps", "tokenizers")
GENERATED = [*(f"{name}.md" for name in _PAGES), *(f"rules/{path.name}" for path in RULES)]


def test_no_generated_page_is_missing_or_left_over():
    assert sorted(GENERATED) == sorted(WRITTEN()), "run: python docs/generate.py, and remove what it does not write"


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_fresh(name):
    assert (ROOT / "docs" / name).read_text("utf-8") == WRITTEN()[name], "run: python docs/generate.py"


def test_generated_pages_hold_every_setting():
    text = generate.recipe_page()
    internal = {
        f"task.{name}" for task in catalog.names("tasks") for name, f in catalog.find("tasks", task).model_fields.items() if f.exclude
    }
    for key in all_keys() - {"task.name", "method.name", "augment.name"} - internal:
        assert f"| `{key}` |" in text, key
    assert not re.search(r"\|\s*\|$", text, re.MULTILINE), "a key without a meaning"


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text("utf-8"))):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        if page_name(found) in LATER and not found.exists():
            continue
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text("utf-8")), target


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_nothing_is_left_to_fill_in(path):
    for paragraph in re.split(r"\n\s*\n", prose(path.read_text("utf-8"))):
        assert not re.fullmatch(r"[A-Z][A-Z_]+[.:…]?", paragraph.strip()), paragraph


NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def defined(file):
    """Names of the functions of a file of tests."""
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", ["README.md", "docs/pains.md"])
def test_promises_name_tests_that_exist(page):
    named = NAMED.findall((ROOT / page).read_text("utf-8"))
    assert len(named) > 10
    for file, test in named:
        assert test.startswith("test_"), f"{file}::{test}"
        assert test in defined(file), f"{file}::{test}"


def test_every_pain_says_what_is_done_and_names_a_test():
    whole, short = (ROOT / "docs" / "pains.md").read_text("utf-8").split("## What falls short")
    rows = [re.split(r" \| ", line.strip("| ")) for line in whole.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    told = [row for row in rows if row != ["elsewhere", "here", "held by"]]
    assert len(told) > 50
    for row in told:
        assert len(row) == 3, row
        assert all(row), row
        assert NAMED.search(row[2]), row
    numbers = re.findall(r"\[(\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/issues/\d+\)", whole + short)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)], "threads are numbered as they come"
    assert NAMED.search(short) is None, "what has a test stands in a table"


def test_every_page_is_reached_from_the_front():
    text = (ROOT / "README.md").read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in text or path.name == "log.md", path.name


# -- commands -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_commands_and_options_exist(path):
    keys = all_keys()
    for words in commands(path.read_text("utf-8")):
        command, rest = COMMAND(), words[1:]
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            if rest[0] in PLACEHOLDERS:
                break
            assert rest[0] in command.commands, f"{shlex.join(words)}: no verb {rest[0]}"
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for option in command.params for name in option.opts} | {"--help"}
        for place, word in enumerate(rest):
            if word.startswith("-"):
                assert word in known, f"{shlex.join(words)}: no option {word}"
            if word == "--set":
                assert meant(rest[place + 1].split("=")[0]) in keys, f"{shlex.join(words)}: no key {rest[place + 1]}"
            if word in ("--method", "--task"):
                kinds = {*catalog.names(f"{word[2:]}s"), *PLUGINS, "auto"}
                assert rest[place + 1] in kinds, f"{shlex.join(words)}: no {rest[place + 1]}"


def test_the_readers_of_commands_see_them():
    found = commands((ROOT / "README.md").read_text("utf-8"))
    assert {words[1] for words in found} >= {"adapt", "inspect", "predict", "evaluate", "run", "diff", "verify-resume"}
    assert commands("```sh\nrootstock adapt x --nothing  # why\n```") == [["rootstock", "adapt", "x", "--nothing"]]


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_targets_of_make_exist(path):
    text = path.read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = [line for block in fenced(text, "sh") for line in block.splitlines() if line.startswith("make ")]
    for line in [*lines, *re.findall(r"`(make [^`]+)`", prose(text))]:
        assert line.split()[1] in targets, line


# -- examples -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_python_examples_compile(path):
    for block in fenced(path.read_text("utf-8"), "python"):
        compile(block, str(path), "exec")


@pytest.fixture
def tour(tmp_path, monkeypatch):
    """The front page, in a folder that holds the files which it makes."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name, content in re.findall(r"cat > (\S+) <<'END'\n(.*?)^END$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(content, "utf-8")
    monkeypatch.chdir(tmp_path)
    return text


def test_the_tour_runs_in_its_order(tour, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setitem(verify.verify.__kwdefaults__, "restart", verify.go_on)  # a process of its own is tests/run/test_resume.py's
    toy = {verb: ["--base", str(tiny_base)] for verb in ("adapt", "inspect", "plan")}
    toy["pretrain"] = ["--set", "training.steps=20", "--set", "data.rows=300"]
    for words in commands(tour.partition("## From Python")[0]):
        small = ["--set", "data.rows=60", "--accept", "truncation"] if "stdlib-docs" in words and words[1] == "adapt" else []
        result = CliRunner().invoke(app, [*words[1:], *toy.get(words[1], []), *small])
        assert result.exit_code == 0, f"{shlex.join(words)}: {result.exception}\n{result.output}"
        assert result.stdout.strip() or words[1:3] == ["predict", "runs/tickets"], shlex.join(words)
    assert (tmp_path / "labelled.csv").read_text("utf-8").count("\n") == 10
    assert (tmp_path / "runs/lora/merged/model.safetensors").exists()


def test_the_tour_in_python_runs(tour, tiny_base, tmp_path, monkeypatch):
    (example,) = fenced(tour, "python")
    monkeypatch.setattr(rootstock, "inspect", partial(rootstock.inspect, base=str(tiny_base)), raising=False)
    exec(compile(example.replace('base="minilm"', f"base={str(tiny_base)!r}"), "README.md", "exec"), {})
    assert (tmp_path / "runs/python/report.html").exists()


def test_the_docstring_of_the_package_runs(tiny_base, tmp_path, monkeypatch):
    example = textwrap.dedent((rootstock.__doc__ or "").partition("\n\n")[2])
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", rows_of(40))
    exec(compile(example.replace('base="minilm"', f"base={str(tiny_base)!r}"), "rootstock", "exec"), {})
    assert (tmp_path / "runs/reviews/manifest.json").exists()


def test_the_plug_in_of_the_page_works(adapt, tmp_path, monkeypatch):
    text = (ROOT / "docs/extending.md").read_text("utf-8")
    (code,) = re.findall(r"<!-- example: bias_only.py -->\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (project,) = re.findall(r"<!-- example: pyproject.toml -->\n```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    group, name, value = re.search(r'entry-points\."([\w.]+)"\]\n([\w-]+) = "([\w:]+)"', project).groups()
    (tmp_path / "bias_only.py").write_text(code, "utf-8")
    installed = tmp_path / "rootstock_bias_only-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: rootstock-bias-only\nVersion: 1.0\n", "utf-8")
    (installed / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog._plugins.cache_clear()
    try:
        assert name in catalog.names("methods")
        run = adapt(method=name, training=ONCE)
        assert run.recipe.method == {"name": name, "norms": True}
        assert len(run.predict(["a good film"])) == 1
    finally:
        catalog._plugins.cache_clear()


# -- recipes --------------------------------------------------------------------------------------------------------------


def runs_of(path):
    """Each run that a recipe comes to, as a recipe of its own."""
    found = read_any(path)
    if isinstance(found, Recipe):
        return [found]
    return [found.recipe(number, found.base, minutes=None, merge=False) for number in range(1, len(found.stages) + 1)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_load_and_say_what_they_are_for(path):
    for recipe in runs_of(path):
        assert built("tasks", recipe.task)
        assert built("methods", recipe.method)
    assert path.read_text("utf-8").startswith("# ")
    assert f"rootstock run recipes/{path.name}" in path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("path", STAGED, ids=lambda path: path.stem)
def test_recipes_of_stages_run_at_toy_size(path, tiny_base, tmp_path):
    values = yaml.safe_load(path.read_text("utf-8")) | {"base": str(tiny_base)}
    for number, (stage, recipe) in enumerate(zip(values["stages"], runs_of(path), strict=True)):
        stage["data"]["train"] = str(toy_rows(recipe, tmp_path / f"{number}.csv"))
        stage["training"] = stage.get("training", {}) | {"epochs": 1, "length": 16}
    run = stages.carry_out(StagedRecipe.build(values, ""), tmp_path / "run", Watch())
    assert run.whole.complete
    assert len(run.whole.json("metrics.json")["gains"]) == len(values["stages"])


def toy_rows(recipe, path):
    """A tiny file with the columns that a recipe names."""
    task = recipe.task
    rows = [(*text.rsplit(" ", 1), label) for text, label in rows_of(60) if " " in text]
    numbers = task["name"] == "regression"
    answers = [float(i % 7) / 2 if numbers else label for i, (_, _, label) in enumerate(rows)]
    columns = {task.get("text") or "text": [f"{first} {second}" for first, second, _ in rows]}
    if task.get("text_pair"):
        columns[task["text_pair"]] = [second for _, second, _ in rows]
    columns[task.get("label") or "label"] = answers
    return write_csv(path, zip(*columns.values(), strict=True), header=tuple(columns))


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in STAGED], ids=lambda path: path.stem)
def test_recipes_run_at_toy_size(path, tiny_base, tmp_path):
    recipe = read_recipe(path)
    values = yaml.safe_load(path.read_text("utf-8"))
    if recipe.task["name"] != "auto" and issubclass(catalog.find("tasks", recipe.task["name"]), Objective):
        texts = tmp_path / "texts.jsonl"
        texts.write_text("".join(json.dumps({"text": text}) + "\n" for text, _ in rows_of(80)))
        values["data"]["train"], values["training"] = str(texts), values["training"] | {"epochs": 1}
        run = api.carry_out(Recipe.build(values | {"base": "scratch:bert-tiny"}, ""), tmp_path / "run", Watch())
        assert run.folder.complete
        return
    base = "scratch:bert-tiny" if recipe.base.startswith("scratch:") else str(tiny_base)
    if "parts" in recipe.task:
        for name, part in values["task"]["parts"].items():
            part["data"]["train"] = str(toy_rows(Recipe(task=part["task"]), tmp_path / f"{name}.csv"))
        run = api.carry_out(Recipe.build(values | {"base": base, "training": {"epochs": 1}}, ""), tmp_path / "run", Watch())
        assert run.folder.parts == sorted(values["task"]["parts"])
        return
    data = values["data"] | {"train": str(toy_rows(recipe, tmp_path / "train.csv"))}
    if isinstance(recipe.data.validation, str):
        data["validation"] = str(toy_rows(recipe, tmp_path / "validation.csv"))
    training = values.get("training", {}) | {"epochs": 1}
    run = rootstock.adapt(
        data.pop("train"),
        base=base,
        out=tmp_path / "run",
        **data,
        **{key: values[key] for key in ("budget", "accept", "merge", "seed", "track") if key in values},
        training=training,
        task=built("tasks", values["task"]),
        method=built("methods", values["method"]),
    )
    assert run.folder.complete
    assert run.metrics["rows"] > 0


def built(kind, section):
    """The task or method that a section names, or "auto"."""
    settings = dict(section)
    name = settings.pop("name")
    return name if name == "auto" else catalog.find(kind, name).build(settings, name)


def test_the_commented_recipe_is_a_recipe():
    from rootstock.run.schema import commented

    Recipe.build(yaml.safe_load(commented()), "")


# -- the project speaks of itself only ------------------------------------------------------------------------------------


LOOKS_FOR_THEM = {
    "src/rootstock/sentinel/formats/requirements.py",
    "src/rootstock/sentinel/judge/values.py",
    "tests/sentinel/test_scan_configs.py",
}
"""The scanner has to name hosts and folders that it looks for in what others wrote."""


def project_files():
    for folder, below, files in os.walk(ROOT):
        below[:] = [name for name in below if name not in SKIPPED and not name.endswith(".egg-info")]
        yield from (Path(folder) / name for name in files if name != Path(__file__).name)


def strangers(line):
    """What in a line tells of the machine or the place that a copy was made on."""
    hosts = ("py" + "pi.org", "python" + "hosted", "index" + "-url", "arti" + "factory")
    folders = ("/" + "work/", "/" + "tmp/w", "/" + "root/")
    sibling = re.search(r"(?<![\w.])(\.\./)*shared/|[\"']shared[\"']", line) and "Path(__file__)" not in line
    return [word for word in (*hosts, *folders) if word in line] + (["shared"] if sibling else [])


def test_strangers_are_seen():
    assert strangers("see /" + "work/main") == ["/" + "work/"]
    assert strangers("read ../shared/data") == ["shared"]
    assert not strangers("shared by tasks on one text")
    assert not strangers('os.environ.get("ROOTSTOCK_DATA", Path(__file__).parents[2] / "shared" / "data")')


def test_no_file_tells_of_the_machine():
    found = []
    for path in project_files():
        if path.suffix in (".png", ".safetensors", ".parquet", ".pyc") or page_name(path) in LOOKS_FOR_THEM:
            continue
        lines = path.read_text("utf-8", errors="replace").splitlines()
        found += [f"{page_name(path)}:{number}: {word}" for number, line in enumerate(lines, 1) for word in strangers(line)]
    assert not found
