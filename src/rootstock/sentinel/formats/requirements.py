"""Lists of packages to install with a model: other indexes, addresses, names one letter away from a known package."""

import re
from collections.abc import Iterator

from rootstock.sentinel.context import Context
from rootstock.sentinel.findings import Finding, LimitReached, finding
from rootstock.sentinel.judge import paths
from rootstock.sentinel.judge.words import words
from rootstock.sentinel.source import Probe, Source

MAX_BYTES = 4 << 20
_FILE = re.compile(r"(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)\Z|python_env\.txt\Z")
LISTS = ("conda.yaml", "conda.yml", "environment.yml", "environment.yaml", "python_env.yaml")
"""Environments with packages of pip in them, an item a line."""
_INDEX = re.compile(r"(?:^|\s)(?:-i|--index-url|--extra-index-url|-f|--find-links|--trusted-host)[=\s]+(\S+)")
_ADDRESS = re.compile(r"(?:(?:git|hg|svn|bzr)\+)?[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?([^/\s:#]+)(/[^/\s]*)?", re.IGNORECASE)
_PATH = re.compile(r"(?:-e|--editable|-r|--requirement|-c|--constraint)[=\s]*(\S+)|([./~][^\s;]*)")
_WHEEL = re.compile(r"[./\w-]*\.(?:whl|tar\.gz|zip)(?:\s|\Z)")
HOSTS = words(
    "pypi.org files.pythonhosted.org download.pytorch.org pypi.nvidia.com data.pyg.org pypi.ngc.nvidia.com storage.googleapis.com"
    " test.pypi.org huggingface.co"
)
OWNERS = words(
    "huggingface openai facebookresearch pytorch google google-research microsoft nvidia tensorflow keras-team deepmind mistralai"
    " salesforce dao-ailab eleutherai stanfordnlp allenai bitsandbytes-foundation timdettmers mlflow ml-explore jax-ml"
    " google-deepmind"
)
KNOWN = sorted(
    words(
        "torch torchvision torchaudio transformers tokenizers datasets accelerate diffusers peft safetensors huggingface-hub"
        " sentencepiece numpy scipy pandas scikit-learn matplotlib requests tensorflow keras jax flax optax pillow opencv-python"
        " protobuf tqdm pyyaml regex einops timm bitsandbytes deepspeed xformers triton gradio streamlit fastapi uvicorn pydantic onnx"
        " onnxruntime mlflow wandb tensorboard pytorch-lightning lightning omegaconf hydra-core xgboost lightgbm catboost joblib"
        " cloudpickle nltk spacy gensim sentence-transformers librosa soundfile boto3 flask django sqlalchemy cryptography urllib3"
        " setuptools ipython jupyter notebook beautifulsoup4 langchain llama-index openai anthropic tiktoken vllm flash-attn"
    )
)
OTHERS = words("dataset request torchx keras3 numba pandera lightning-fabric jaxlib flask-ml tritonclient nlpk spacey click python")
"""Packages that exist and stand one letter away from a known one."""


def recognises(probe: Probe) -> bool:
    """By name, which is what people install from."""
    return (bool(_FILE.match(probe.name)) or probe.name in LISTS) and b"\0" not in probe.head


def scan(source: Source, context: Context) -> Iterator[Finding]:
    """One line at a time."""
    if source.size > MAX_BYTES:
        raise LimitReached(f"{source.size:,} bytes of requirements, of which at most {MAX_BYTES:,} are read")
    for number, whole in enumerate(source.read(0, source.size).decode("utf-8", "replace").splitlines(), 1):
        if line := re.sub(r"(?:^|\s)#.*", "", whole).strip():
            if source.name in LISTS:
                line = line.removeprefix("-").strip(" '\"")
            yield from _line(line, number, source)


def _line(line: str, number: int, source: Source) -> Iterator[Finding]:
    where = f"line {number}: {line[:120]!r}"
    for match in _INDEX.finditer(line):
        address = _ADDRESS.match(match[1])
        host = (address[1] if address else match[1]).lower()
        if host not in HOSTS:
            yield finding("requirement-source", source, f"{where} has packages come from {host}")
    if (out := _PATH.match(line)) and (why := paths.escapes(out[1] or out[2])) and why != "is an address, not a file beside it":
        yield finding("requirement-source", source, f"{where} installs what lies at {(out[1] or out[2])[:120]!r}, which {why}")
    if _WHEEL.match(line):
        yield finding("requirement-source", source, f"{where} installs a file instead of a package of an index")
    if line.startswith("-"):
        return
    address = _ADDRESS.search(line)
    if address and not _trusted(address):
        yield finding("requirement-source", source, f"{where} installs from {address[1]}")
    name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    if name and not address and (known := _near(re.sub(r"[-_.]+", "-", name.group().lower()))):
        yield finding("requirement-name", source, f"{where} is one letter away from {known!r}")


def _trusted(address: re.Match[str]) -> bool:
    host, owner = address[1].lower(), (address[2] or "/").strip("/").lower()
    return host in HOSTS or (host in ("github.com", "www.github.com") and owner in OWNERS)


def _near(name: str) -> str:
    if name in KNOWN or name in OTHERS or len(name) < 5:
        return ""
    return next((known for known in KNOWN if len(known) > 4 and abs(len(known) - len(name)) < 2 and _one_edit(name, known)), "")


def _one_edit(left: str, right: str) -> bool:
    """Whether one insertion, deletion, change or swap of neighbours leads from one to the other."""
    start = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    one, two = left[start:], right[start:]
    return one[1:] == two[1:] or one[1:] == two or one == two[1:] or (one[:2] == two[:2][::-1] and one[2:] == two[2:])
