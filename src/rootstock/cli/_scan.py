"""Shared by the kinds of scan: which one is asked, with options that mean something to it, and how its result is shown.

A kind is a module of verbs/ with TAKES, the options that it reads, and `scanned`, which gives a Scanned.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def carry_out(kinds: Sequence[str], paths: Sequence[str], options: Mapping[str, Any], *, form: str, policy: str) -> None:
    """Scan, print, and raise GateRefused where something was found that is to be refused."""
    from rootstock.core.errors import UsageError

    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(f'--{each}' for each in kinds)} are asked at once", wanted="one of them", fix="scan twice")
    module = import_module(f"rootstock.verbs.{kinds[0]}") if kinds else None
    takes = module.TAKES if module else ()
    for name, value in options.items():
        if value is not None and name not in takes:
            beside = f"--{kinds[0]}" if kinds else "a scan of files"
            raise UsageError(f"--{name} is given, and means nothing to {beside}", fix=f"leave --{name} out")
    if module is None:
        _files(paths, form, policy)
    else:
        _kind(kinds[0], paths, {key: value for key, value in options.items() if value is not None}, form)


def _files(paths: Sequence[str], form: str, policy: str) -> None:
    from rootstock.core.errors import UsageError
    from rootstock.verbs import scanning

    if not paths:
        raise UsageError("nothing is named", wanted="files, folders, archives or hub ids to scan", fix="rootstock scan PATH")
    text, report = scanning.check(paths, form, policy)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    scanning.refuse(report)


def _kind(kind: str, paths: Sequence[str], options: Mapping[str, Any], form: str) -> None:
    from rootstock.cli.console import Console, show
    from rootstock.core.errors import UnknownName
    from rootstock.core.watch import Watch
    from rootstock.verbs import scan_kept

    if form not in ("text", "json"):
        raise UnknownName("format", form, ("text", "json"))
    console, page = Console(), options.get("report")
    if page is not None:
        scan_kept.check(kind, page)
    found = import_module(f"rootstock.verbs.{kind}").scanned(paths, options, Watch(say=console.say, event=console.event))
    if page is not None:
        console.say(f"written   {page} and {scan_kept.keep(found.value, page).name}")
    show(found.value, found.text, as_json=form == "json")
    found.refuse()
