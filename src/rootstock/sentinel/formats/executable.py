"""Programs and libraries of the machine: ELF, PE, Mach-O, WebAssembly, Android and Python bytecode, whatever the file is called."""

from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, finding
from rootstock.sentinel.source import Probe, Source

MACH = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
PLAIN = {
    **dict.fromkeys(MACH, "a Mach-O program or library"),
    b"\x7fELF": "an ELF program or library",
    b"\0asm\x01\0\0\0": "a WebAssembly module",
    b"dex\n0": "an Android program",
}


def recognises(probe: Probe) -> bool:
    """By magic and the fields behind it."""
    return bool(_what(probe.head))


def _what(head: bytes) -> str:
    if found := next((what for magic, what in PLAIN.items() if head.startswith(magic)), ""):
        return found
    if head[:2] == b"MZ":
        at = int.from_bytes(head[60:64], "little")
        if head[at : at + 4] == b"PE\0\0":
            return "a Windows program or library"
        return "a program for several systems (APE)" if head[:6] in (b"MZqFpD", b"MZ='\n\0") else ""
    if head[:4] == b"\xca\xfe\xba\xbe" and len(head) > 8:
        return "a Mach-O program for several processors" if int.from_bytes(head[4:8], "big") < 40 else "a Java class"
    bytecode = head[2:4] == b"\r\n" and len(head) > 16 and 3000 <= int.from_bytes(head[:2], "little") <= 3700
    return "Python bytecode" if bytecode else ""


WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gguf", ".h5", ".keras", ".npz", ".npy", ".joblib", ".pkl", ".tflite")
"""Names by which nobody calls a program that is meant to be seen as one."""


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """That it is there; under the name of weights, or as a zip file as well, it was built to deceive."""
    both = b"PK\x05\x06" in source.probe.tail
    what = f"it is {_what(source.probe.head)}{' and a zip file at once' if both else ''}"
    disguised = both or source.name.endswith(WEIGHTS)
    yield finding("native-code", source, what, offset=0, severity="malicious" if disguised else None)
