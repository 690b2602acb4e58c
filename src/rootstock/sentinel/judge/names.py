"""Dotted names by which a config has a loader import and call something: known, unknown, or known to run code."""

import re
import sys

from rootstock.sentinel.findings import Severity
from rootstock.sentinel.judge.words import words

LIBRARIES = words(
    "accelerate catboost catalyst datasets deepspeed diffusers einops espnet2 fairseq flair flax gluonts haiku huggingface_hub"
    " hydra jax keras keras_core keras_cv keras_hub keras_nlp lightgbm lightning lightning_fabric megatron ml_collections mlflow"
    " monai nemo nemo_text_processing numpy omegaconf onnxruntime open_clip optax pandas peft pytorch_lightning"
    " pytorch_transformers scipy segmentation_models_pytorch sentence_transformers setfit sklearn spacy speechbrain statsmodels"
    " tensorflow tf_keras timm tokenizers torch torchaudio torchmetrics torchtext torchtune torchvision trl transformers"
    " ultralytics xgboost"
)
"""Packages whose classes a config may name. Their loaders of files and their runners may not be."""

PLAIN = words(
    "builtins.bool builtins.bytes builtins.complex builtins.dict builtins.float builtins.frozenset builtins.int builtins.list"
    " builtins.object builtins.range builtins.set builtins.slice builtins.str builtins.tuple collections.Counter"
    " collections.OrderedDict collections.defaultdict collections.deque datetime.date datetime.datetime datetime.timedelta"
    " decimal.Decimal fractions.Fraction pathlib.Path pathlib.PosixPath pathlib.PurePath uuid.UUID"
)
REACHING = words(
    "builtins code codeop commands ctypes dill distutils fileinput ftplib http idlelib importlib imp joblib cloudpickle"
    " jsonpickle marshal multiprocessing nt os pdb pickle pkgutil platform popen2 posix pty runpy shelve shutil site smtplib"
    " socket socketserver subprocess sys tempfile timeit trace types urllib urllib2 webbrowser xmlrpc yaml zipimport requests"
    " httpx _pickle"
)
"""Modules that run code, load objects or reach files and the network."""

HIDDEN = words("os sys subprocess builtins pickle socket importlib shutil ctypes posix")
"""The same, reached through another module that imported them."""

_RUNNER = re.compile(
    r"^(?:_?(?:exec|eval|system|popen|spawn|run_(?:module|path|command|script)|subprocess|import|load_(?:library|module|file|pickle|op_library)|"
    r"compile_file|execfile|urlretrieve|urlopen|download\w*|get_file|get_(?:method|object|class|obj|static_method)|call_function|unpickle|"
    r"unsafe_load|_load|from_pickle|read_pickle|instantiate|call|memmap|fromfile|genfromtxt|loadtxt|loadmat|load_lambda|python_\w+lambda|pickle_load|resolve_name|locate|import_module)\w*|loads?|_call_|__\w+__|"
    r"globals|getattr|setattr|open|run|input|compile|py_func\w*|numpy_function)$",
    re.IGNORECASE,
)
"""Last parts of names that load or run what their arguments say, in any package."""

_NAME = re.compile(r"[A-Za-z_][\w]*(?:[.:][A-Za-z_]\w*)*\Z")


def judge(name: str) -> Severity:
    """malicious: it runs code or reaches out. note: a class of a known library. suspicious: anything else."""
    name = name.strip().replace(":", ".")
    if name in PLAIN:
        return "note"
    parts = name.split(".")
    if not _NAME.match(name) or parts[0] in REACHING | sys.stdlib_module_names or HIDDEN & set(parts[1:]):
        return "malicious"
    if any(_RUNNER.match(part) for part in parts[1:]) or (len(parts) == 1 and name in _BARE):
        return "malicious"
    private = parts[0] == "torch" and any(part.startswith("_") for part in parts[1:-1])
    return "note" if parts[0] in LIBRARIES and not private else "suspicious"


_BARE = words("eval exec open compile __import__ getattr setattr globals input breakpoint")


def reads_as_name(value: str) -> bool:
    """Whether a text is a dotted name, as `a.b.C` or `a.b:C`."""
    return len(value) < 400 and bool(_NAME.match(value.strip()))
