"""Adapters of runs that write, for vLLM: the folder and the command. What it would refuse or compute otherwise is refused."""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rootstock.core import artifact
from rootstock.core.errors import MergeRefused, UsageError
from rootstock.core.watch import Say
from rootstock.report import graph_card
from rootstock.run.use import Run
from rootstock.verbs import exporting, merging
from rootstock.verbs.exporting import Exported, Options

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` of vLLM takes."""
FILES = ("adapter_config.json", "adapter_model.safetensors")
_TEMPLATE = "chat_template.jinja"


def vllm(runs: Sequence[Run], options: Options, place: Path, say: Say) -> Exported:
    """A folder with an adapter a run, all over one base. Raises MergeRefused for an adapter that vLLM does not take."""
    if options.of_several() or options.rows:
        given = "--rows" if options.rows else "--combine or --head-from"
        raise UsageError(f"{given} with --to vllm", wanted="runs alone", fix=f"leave {given} out")
    if len(runs) > 1:
        merging.head_of(runs, runs[0].path)
    names = [run.path.resolve().name for run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two runs are called {min(twice)}", wanted="a name of its own for each", fix="rename one of the folders")
    adapters = [_adapter(run, name, place / name) for run, name in zip(runs, names, strict=True)]
    base = runs[0].contract["base"]["hub_id"] or str(runs[0].base("adapter was trained on").folder)
    facts: dict[str, Any] = {
        "to": "vllm",
        "sources": [merging.source(run) for run in runs],
        "adapters": adapters,
        "base": base,
        "command": _command(base, adapters, template=_template(runs, place)),
    }
    told = exporting.told(runs[0])
    return Exported(facts=facts, card=lambda name: graph_card.render(facts | told | {"name": name}))


def _command(base: str, adapters: Sequence[dict[str, Any]], *, template: bool) -> str:
    """To be given inside the folder."""
    rank = next(each for each in RANKS if each >= max(adapter["rank"] for adapter in adapters))
    words = ["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(len(adapters))]
    words += ["--chat-template", _TEMPLATE] if template else []
    return shlex.join([*words, "--lora-modules", *(f"{each['name']}=./{each['name']}" for each in adapters)])


def _adapter(run: Run, name: str, place: Path) -> dict[str, Any]:
    """Copy an adapter as it is, once vLLM's rules are kept; each byte is held to what the run wrote."""
    if not run.task.writes or run.task.head().auto != "AutoModelForCausalLM":
        raise UsageError(f"{run.path} --to vllm", wanted="a run of a language model that writes", fix="export it --to onnx or merged")
    if run.contract["saves"] != "adapter":
        raise UsageError(f"{run.path} is a whole model", wanted="an adapter", fix=f"vllm serve {run.folder.model} takes it as it is")
    assert run.admitted.admission is not None
    digests = run.admitted.admission.files
    config = artifact.read_json(run.folder.model / FILES[0], wanted="an adapter of peft", fix="run again")
    check(config, run)
    place.mkdir()
    for file in FILES:
        shutil.copyfile(run.folder.model / file, place / file)
        if (found := artifact.digest_file(place / file)) != digests[file]:
            raise MergeRefused(f"the copy of {file} has the digest {found}", wanted=digests[file], fix="try again")
    return {
        "name": name,
        "rank": config["r"],
        "targets": sorted(config["target_modules"]),
        "sha256": {file: digests[file] for file in FILES},
    }


def check(config: dict[str, Any], run: Run) -> None:
    """Raise MergeRefused with the reason for an adapter that vLLM refuses or would compute otherwise."""
    wrong = {
        f"is {config.get('peft_type')}, no LoRA": config.get("peft_type") != "LORA",
        f"has rank {config.get('r')}, more than {RANKS[-1]}": config.get("peft_type") == "LORA" and config["r"] > RANKS[-1],
        "holds whole modules (modules_to_save)": bool(config.get("modules_to_save")),
        "is DoRA": bool(config.get("use_dora")),
        f"holds biases ({config.get('bias')})": config.get("bias", "none") != "none",
        "has ranks or scales that differ among layers": bool(config.get("rank_pattern") or config.get("alpha_pattern")),
        "is over transposed matrices (fan_in_fan_out)": bool(config.get("fan_in_fan_out")),
        "brings tokens of its own": bool(run.recipe.add_tokens or config.get("trainable_token_indices")),
        "names target parameters": bool(config.get("target_parameters")),
    }
    if held := [what for what, is_so in wrong.items() if is_so]:
        fix = "export it --to merged, and serve that" if run.method.folds else "train it with the method lora"
        raise MergeRefused(f"vLLM takes no such adapter: that of {run.path} {held[0]}", wanted="a plain LoRA of linear layers", fix=fix)


def _template(runs: Sequence[Run], place: Path) -> bool:
    """Write the chat template that the runs learned with; UsageError where they differ."""
    held = {run.tokenizer.chat_template for run in runs}
    if len(held) > 1:
        raise UsageError("runs with different chat templates", wanted="one: vLLM has one a server", fix="export them apart")
    template = held.pop()
    if isinstance(template, str):
        artifact.write_text(place / _TEMPLATE, template)
    return isinstance(template, str)
