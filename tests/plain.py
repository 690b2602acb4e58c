"""What others make of a saved model: plain transformers, plain peft, or the lines of docs/adapters.md."""

import json
import re
import warnings
from functools import cache
from pathlib import Path

import transformers
from peft import PeftModel

from rootstock.core import layers

PAGE = Path(__file__).parents[1] / "docs" / "adapters.md"


@cache
def lines(example):
    """What one of the page's examples defines, by name."""
    (code,) = re.findall(rf"<!-- example: {example} -->\n```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    told = {}
    exec(compile(code, PAGE.name, "exec"), told)
    return told


def loaded(folder, base, head):
    """The model of a folder: itself, or an adapter on its base under a head of these options."""
    auto = getattr(transformers, head.auto)
    if not (folder / "adapter_config.json").is_file():
        return auto.from_pretrained(folder).eval()
    plain, settings = auto.from_pretrained(base, **head.options), json.loads((folder / "adapter_config.json").read_text())
    if "peft_type" in settings:
        with warnings.catch_warnings():
            # peft still asks transformers by a name whose end is near, and of some kinds does not know every layer
            warnings.simplefilter("ignore")
            return PeftModel.from_pretrained(plain, folder).eval()
    if settings["method"] == "reft":
        return lines("reft")["with_edits"](plain, layers.blocks(plain), folder).eval()
    return lines(settings["method"])["with_adapter"](plain, folder).eval()
