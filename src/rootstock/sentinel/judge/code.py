"""Python source, judged by its syntax tree and never compiled to run: what it calls, at import and later."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from rootstock.sentinel.judge.words import words

RUNS = words(
    "os.system os.popen os.execl os.execle os.execlp os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnv os.spawnve"
    " os.spawnlp os.startfile os.posix_spawn os.fork posix.system nt.system pty.spawn subprocess.run subprocess.call"
    " subprocess.Popen subprocess.check_call subprocess.getoutput subprocess.check_output subprocess.getstatusoutput"
    " commands.getoutput eval exec compile __import__ builtins.eval builtins.exec importlib.import_module importlib.__import__"
    " runpy.run_path runpy.run_module marshal.loads pickle.loads pickle.load dill.loads dill.load cloudpickle.loads ctypes.CDLL"
    " ctypes.cdll.LoadLibrary ctypes.PyDLL code.interact types.CodeType types.FunctionType webbrowser.open socket.socket"
    " socket.create_connection urllib.request.urlopen urllib.request.urlretrieve requests.get requests.post httpx.get httpx.post"
    " torch.ops.load_library torch.utils.cpp_extension.load torch.hub.load shutil.rmtree os.remove os.unlink os.rmdir pip.main"
    " asyncio.create_subprocess_shell asyncio.create_subprocess_exec multiprocessing.util.spawnv_passfds"
)
"""Calls that run a command or code, load objects, reach the network or delete."""

LATER = RUNS - words(
    "requests.get requests.post httpx.get httpx.post urllib.request.urlopen importlib.import_module shutil.rmtree os.remove"
    " os.unlink os.rmdir"
)
"""Those that count within a function too, where ordinary code uses the others."""

WRITES = re.compile(r"\b(?:write_text|write_bytes|touch|chmod|symlink_to|unlink|rmtree)$")
_PIPE = re.compile(r"^\s*(?:!|%%?(?:bash|sh|script|system|sx|cmd|perl|ruby|writefile|run|load_ext|pip|conda)\b|\?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. at_import: it happens as soon as the file is imported."""

    name: str
    line: int
    at_import: bool


def dangerous_calls(text: str) -> Iterator[Call]:
    """Calls that run, load, reach out or delete. Raises SyntaxError, ValueError or RecursionError for what Python can't parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    walker = _Walker()
    walker.visit(tree)
    yield from walker.found


class _Walker(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[Call] = []
        self.aliases: dict[str, str] = {}
        self.inside = 0

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.aliases[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self.inside += 1
        self.generic_visit(node)
        self.inside -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  (the name that ast calls)
    visit_Lambda = visit_FunctionDef  # noqa: N815  (the name that ast calls)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._name(node.func)
        listed = LATER if self.inside else RUNS
        dunder = name in ("getattr", "builtins.getattr") and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant)
        if name in listed or (not self.inside and (WRITES.search(name) or (dunder and self._module(node.args[0])))):
            self.found.append(Call(name, node.lineno, not self.inside))
        self.generic_visit(node)

    def _module(self, node: ast.expr) -> bool:
        return self._name(node).split(".")[0] in ("os", "builtins", "subprocess", "__builtins__", "sys", "posix")

    def _name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        if isinstance(node, ast.Call) and self._name(node.func) in ("__import__", "importlib.import_module") and node.args:
            first = node.args[0]
            return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else "?"
        if isinstance(node, ast.Call):
            return self._name(node.func)
        return "?"


def shell_lines(cell: str) -> list[str]:
    """Lines of a notebook's cell that go to a shell or a magic that runs a file."""
    return [line.strip() for line in cell.splitlines() if _PIPE.match(line)]
