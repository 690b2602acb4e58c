"""Shared: the command in this process, and a folder of finished runs and of files that are wrong in one way each."""

import os
import shlex
import sys
from functools import cache

import pytest
import typer.main
from tests.conftest import rows_of, write_csv

from rootstock.cli.main import main

TREE = cache(typer.main.get_command)
"""The verbs with their options, which every command line would make anew: in a process of its own it is needed once."""


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command line; gives the exit code, stdout and stderr."""
    monkeypatch.setattr(typer.main, "get_command", TREE)

    def run(line):
        arguments = shlex.split(line) if isinstance(line, str) else [str(each) for each in line]
        monkeypatch.setattr(sys, "argv", ["rootstock", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def desk(tmp_path_factory, tiny_base):
    """A folder with base/ (the tiny base), good.csv, test.csv, and the finished runs one/ (one text), two/ (pairs) and adapter/."""
    import shutil

    import rootstock

    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(tiny_base, folder / "base")
    write_csv(folder / "good.csv", rows_of(60))
    write_csv(folder / "test.csv", rows_of(30, seed=5))
    pairs = [(a, b, "same" if i % 3 else "other") for i, ((a, _), (b, _)) in enumerate(zip(rows_of(60), rows_of(60, seed=4), strict=True))]
    write_csv(folder / "pairs.csv", pairs, ("sentence1", "sentence2", "label"))
    before, kept = os.environ.get("ROOTSTOCK_CACHE"), tmp_path_factory.mktemp("cache")
    os.environ["ROOTSTOCK_CACHE"] = str(kept)
    settings = {"base": str(folder / "base"), "training": {"epochs": 1}, "seed": 1}
    for name, data, method in (("one", "good.csv", "full"), ("two", "pairs.csv", "full"), ("adapter", "good.csv", "lora")):
        rootstock.adapt(folder / data, out=folder / name, method=method, **settings)
    if before is not None:
        os.environ["ROOTSTOCK_CACHE"] = before
    return folder
