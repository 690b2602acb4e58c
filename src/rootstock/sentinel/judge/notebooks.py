"""Jupyter notebooks: cells that go to a shell, and Python that runs, loads or reaches out."""

import re
from collections.abc import Iterator
from typing import Any

from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Source


def judge(root: Any, source: Source) -> Iterator[Finding]:
    """Findings on a document that is a notebook; none on another."""
    if not isinstance(root, dict) or not isinstance(root.get("cells", []), list) or "nbformat" not in root:
        return
    sheets = root.get("worksheets")
    older = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)] if isinstance(sheets, list) else []
    cells = [*root.get("cells", []), *(cell for each in older if isinstance(each, list) for cell in each)]
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        text = cell.get("source", cell.get("input", ""))
        text = "".join(map(str, text)) if isinstance(text, list) else str(text)
        yield from _cell(text, number, source)


def _cell(text: str, number: int, source: Source) -> Iterator[Finding]:
    from rootstock.sentinel.judge.code import RUNS, dangerous_calls, shell_lines

    commands = shell_lines(text)
    for line in commands:
        harmless = _KNOWN_MAGIC.fullmatch(line) is not None or _is_harmless(_TAKEN.sub("!", line))
        yield finding("notebook-command", source, f"cell {number} runs {line[:120]!r}", severity="note" if harmless else None)
    python = "\n".join(line for line in text.splitlines() if line.lstrip()[:1] not in ("!", "%", "?") and line.strip() not in commands)
    try:
        for call in dangerous_calls(python):
            if call.at_import and call.name in RUNS and call.name not in READS:
                yield finding("notebook-command", source, f"cell {number}, line {call.line} calls {call.name}")
    except (SyntaxError, ValueError, RecursionError) as error:
        yield finding(
            "notebook-command", source, f"cell {number} can't be read as Python ({error}) and was not scanned", severity="unscanned"
        )


def _is_harmless(line: str) -> bool:
    plain = not any(mark in line for mark in (";", "|", "&", "`", "$", "<", ">", "://", "git+"))
    return plain and line.lstrip("!%").strip().startswith(HARMLESS)


_KNOWN_MAGIC = re.compile(
    r"%load_ext (?:autoreload|tensorboard|watermark|dotenv|memory_profiler|line_profiler|cudf\.pandas|google\.colab\.data_table"
    r"|rpy2\.ipython|sql)"
)
_TAKEN = re.compile(r"^[\w, ]+=\s*!")
HARMLESS = ("pip install ", "pip3 install ", "conda install ", "nvidia-smi", "ls", "pwd", "python --version", "git lfs install")
READS = words("requests.get httpx.get urllib.request.urlopen torch.hub.load os.remove os.unlink os.rmdir shutil.rmtree")
"""Ordinary in a notebook that a person runs cell by cell."""
