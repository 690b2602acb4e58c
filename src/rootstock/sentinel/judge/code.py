"""Python source, judged by its syntax tree and never compiled to run: what it calls, at import and later."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    " get_ipython.system get_ipython.getoutput get_ipython.sx get_ipython.run_cell_magic get_ipython.run_line_magic"
    " pandas.read_pickle joblib.load asyncio.create_subprocess_shell asyncio.create_subprocess_exec multiprocessing.util.spawnv_passfds"
)
"""Calls that run a command or code, load objects, reach the network or delete."""

LATER = RUNS - words(
    "requests.get requests.post httpx.get httpx.post urllib.request.urlopen importlib.import_module shutil.rmtree os.remove"
    " os.unlink os.rmdir"
)
"""Those that count within a function too, where ordinary code uses the others."""

ROOTS = frozenset(name.split(".")[0] for name in RUNS)
"""Modules and builtins by which the listed calls begin."""

WRITES = re.compile(r"\b(?:write_text|write_bytes|touch|chmod|symlink_to|unlink|rmtree)$")
_PIPE = re.compile(
    r"^\s*(?:[\w, ]+=\s*[!]|!|%%?(?:bash|sh|script|system|sx|cmd|perl|ruby|writefile|run|load|load_ext|pip|conda)\b|\?)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. at_import: it happens as soon as the file is imported."""

    name: str
    line: int
    at_import: bool


def dangerous_calls(text: str | bytes) -> Iterator[Call]:
    """Calls that run, load, reach out or delete. Raises SyntaxError, ValueError or RecursionError for what Python can't parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    walker = _Walker()
    walker.visit(tree)
    yield from walker.all()


class _Walker(ast.NodeVisitor):
    """Follows names through imports and plain assignments."""

    def __init__(self) -> None:
        self.found: list[Call] = []
        self.aliases: dict[str, str] = {"__builtins__": "builtins"}
        self.inside = self.classes = 0
        self.within: list[str] = []
        self.held: dict[str, list[Call]] = {}
        self.called: set[str] = set()

    def all(self) -> Iterator[Call]:
        """Calls in order; those of a function that is called at import happen then as well."""
        pending, seen = list(self.called), set(self.called)
        while pending:
            for call in self.held.pop(pending.pop(), []):
                if call.name in RUNS:
                    self.found.append(replace(call, at_import=True))
                elif call.name not in seen:
                    seen.add(call.name)
                    pending.append(call.name)
        yield from self.found

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.aliases[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if alias.name == "*":
                lead = f"{node.module}."
                self.aliases |= {name.removeprefix(lead): name for name in RUNS if name.startswith(lead)}

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        name = self._name(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and name != "?" and name.split(".")[0] in ROOTS:
                self.aliases[target.id] = name

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        main = isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"
        self.inside += main
        self.generic_visit(node)
        self.inside -= main

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
            if (name := self._name(decorator)) in RUNS:
                self.found.append(Call(name, node.lineno, not self.inside))
        if isinstance(node, ast.ClassDef):
            self.classes += 1
            for child in (*node.bases, *node.keywords, *node.body):
                self.visit(child)
            self.classes -= 1
            return
        self.visit(node.args)  # defaults are computed where the function is defined
        self.inside += 1
        self.within.append(f"{'.' * self.classes}{node.name}")
        for child in node.body:
            self.visit(child)
        self.within.pop()
        self.inside -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  (the name that ast calls)
    visit_ClassDef = visit_FunctionDef  # noqa: N815  (the name that ast calls)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.inside += 1
        self.generic_visit(node)
        self.inside -= 1

    def visit_Call(self, node: ast.Call) -> None:
        name = self._name(node.func)
        if self.within:
            self.held.setdefault(self.within[0], []).append(Call(name, node.lineno, at_import=False))
        elif not self.inside:
            self.called.add(name)
            handed = [self._name(each) for each in (*node.args, *(pair.value for pair in node.keywords))]
            self.found += [Call(each, node.lineno, at_import=True) for each in handed if each in LATER and "." in each]
            if isinstance(node.func, ast.Lambda):
                self.visit(node.func.body)
        if not self.inside and name.endswith(".__subclasses__"):
            self.found.append(Call("__subclasses__", node.lineno, at_import=True))
        listed = LATER if self.inside else RUNS
        computed = name.endswith("getattr") and len(node.args) > 1 and fixed(node.args[1]) is None and self._name(node.args[0]) in ROOTS
        if name in listed or (not self.inside and (WRITES.search(name) or computed or self._opens(name, node))):
            self.found.append(Call(name, node.lineno, not self.inside))
        self.generic_visit(node)

    def _opens(self, name: str, node: ast.Call) -> bool:
        """Whether a call opens a file to write in it."""
        mode = node.args[1] if len(node.args) > 1 else next((pair.value for pair in node.keywords if pair.arg == "mode"), None)
        text = fixed(mode) if mode is not None else ""
        return name in ("open", "io.open", "builtins.open", "os.open") and bool(text and set(text) & set("wax+"))

    def _name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self._name(node.value)
            return base if node.attr == "__dict__" else f"{base}.{node.attr}"
        if isinstance(node, ast.NamedExpr):
            return self._name(node.value)
        if isinstance(node, ast.Subscript):
            return self._item(node)
        if isinstance(node, ast.Call):
            return self._called(self._name(node.func), node)
        return "?"

    def _item(self, node: ast.Subscript) -> str:
        """What an index takes out: of a list of one, of sys.modules, of a module's names."""
        if isinstance(node.value, ast.List | ast.Tuple) and len(node.value.elts) == 1:
            return self._name(node.value.elts[0])
        base, key = self._name(node.value), fixed(node.slice) or "?"
        return key if base == "sys.modules" or (base, key) == ("builtins", "__builtins__") else f"{base}.{key}"

    def _called(self, name: str, node: ast.Call) -> str:
        """What a call gives, where that is a module or one of its parts."""
        if name in ("__import__", "builtins.__import__", "importlib.import_module") and node.args:
            return fixed(node.args[0]) or "?"
        if name in ("getattr", "builtins.getattr") and len(node.args) > 1:
            return f"{self._name(node.args[0])}.{fixed(node.args[1]) or '?'}"
        if name in ("vars", "builtins.vars") and node.args:
            return self._name(node.args[0])
        return "builtins" if name in ("globals", "locals") else name


def fixed(node: ast.expr) -> str | None:
    """A text that is written out or joined of such, None for any other."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = fixed(node.left), fixed(node.right)
        return None if left is None or right is None else left + right
    return None


def shell_lines(cell: str) -> list[str]:
    """Lines of a notebook's cell that go to a shell or a magic that runs a file."""
    return [line.strip() for line in cell.splitlines() if _PIPE.match(line)]
