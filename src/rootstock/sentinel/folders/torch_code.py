"""Code in torch archives: TorchScript that reaches files or unknown operators, and packages with Python source."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.source import Tree

CODE = re.compile(r"(?:[^/]+/)?code/.*\.py", re.IGNORECASE)
DATA = re.compile(r"(?:[^/]+/)?(?:data|constants)\.pkl", re.IGNORECASE)
PACKAGE = re.compile(r"(?:[^/]+/)?\.data/(?:extern_modules|python_version)")
FILES = re.compile(
    rb"\b(?:torch|ops\s*\.\s*aten|ops\s*\.\s*prim|aten|prim)\s*\.\s*(save|from_file|load|manual_seed_from_file|_save|_load|fork|PythonOp)\s*\("
)
OPERATORS = re.compile(rb"\bops\s*\.\s*(\w+)\s*\.\s*(\w+)")
KNOWN = frozenset(
    b"aten prim prims quantized quantized_decomposed _quantized torchvision image torchaudio torchtext sparse mkldnn mkldnn_prepacked "
    b"prepacked xnnpack rand static_runtime inductor c10d _c10d_functional onnx profiler".split()
)


def scan(tree: Tree, context: Context) -> Iterator[Finding]:
    """TorchScript where there is a code folder beside a pickle; torch.package where its own records are there."""
    names = tree.names
    package = any(PACKAGE.fullmatch(name) for name in names)
    script = any(DATA.fullmatch(name) for name in names)
    for name in names:
        if package and name.endswith(".py"):
            yield finding("torch-package-code", tree.open(name), "Python source of a torch.package, which loading runs")
        elif script and CODE.fullmatch(name):
            yield from _script(tree, name, context)


def _script(tree: Tree, name: str, context: Context) -> Iterator[Finding]:
    source = tree.open(name)
    if source.size > context.limits.header_bytes:
        yield finding("limit-reached", source, f"{source.size:,} bytes of TorchScript; not scanned")
        return
    text = source.read(0, source.size)
    for found in FILES.finditer(text):
        what = f"TorchScript calls {found[0].decode('utf-8', 'replace').rstrip('( ')}, which reads or writes files when the model runs"
        yield finding("torchscript-files", source, what, offset=found.start())
    unknown = {(found[1], found[2]): found.start() for found in OPERATORS.finditer(text) if found[1] not in KNOWN}
    for (space, operator), offset in unknown.items():
        what = f"TorchScript calls {space.decode('utf-8', 'replace')}::{operator.decode('utf-8', 'replace')}, an operator of some library"
        yield finding("torchscript-custom-operator", source, what, offset=offset)
