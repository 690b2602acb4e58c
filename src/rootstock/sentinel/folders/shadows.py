"""Python beside pickled weights that goes by the name of a library which pickles may import: it is imported in the library's place."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.pickles.judge import packages
from rootstock.sentinel.source import Tree

PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz", ".model")
CODE = (".py", ".pyc", ".so", ".pyd")


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """Modules and packages in a folder with pickled weights that is no package itself, as Python puts such a folder first on its path.

    What is scanned counts as such a folder whatever lies in it: an empty __init__.py keeps nobody from loading there.
    """
    folders = {str(PurePosixPath(name).parent) for name in tree.names if name.lower().endswith(PICKLED)}
    inside = {str(PurePosixPath(name).parent) for name in tree.names if name.endswith("__init__.py")} - {"."}
    for name in tree.names if folders else ():
        context.check_time()
        path = PurePosixPath(name)
        if path.suffix.lower() not in CODE:
            continue
        module, folder = (path.parent.name, path.parent.parent) if path.name == "__init__.py" else (path.name.split(".")[0], path.parent)
        if module in packages() and str(folder) in folders - inside:
            what = (
                f"{name[:120]} goes by the name of the library {module!r}, and is imported in its place by what loads the weights beside it"
            )
            yield finding("remote-code", tree.open(name), what, severity="suspicious")
