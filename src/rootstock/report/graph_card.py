"""README.md of a run that was exported for another runtime: what it is, what was compared, and how it is used without Rootstock."""

from typing import Any

from rootstock.report import card, words
from rootstock.report.facts import Facts, dig

_TAGS = {"gguf": "gguf", "vllm": "peft"}


def render(facts: Facts) -> str:
    """The card as Markdown with YAML front matter."""
    hub_id = dig(facts, "contract", "base", "hub_id")
    front = {
        "license": facts["licence"],
        **({"base_model": hub_id, "base_model_relation": "finetune"} if hub_id else {}),
        "tags": ["rootstock", _TAGS.get(facts["to"], "onnx"), facts["sources"][0]["task"]],
    }
    shown = {"lines": lines(facts), "example": _example(facts) if "read" in facts else None, "file": "model.onnx"}
    return card.written("export_other.md.j2", front, {**facts, **shown, "cell": card.cell, "base": facts["contract"]["base"]["reference"]})


def lines(facts: Facts) -> list[str]:
    """What was compared and measured, a line each, for the card and for a terminal."""
    return _LINES[facts["to"]](facts)


def _moved(facts: Facts) -> list[str]:
    each = facts["compared"]
    lines = [f"compared  largest move of an answer {each['largest_move']:.2g} of their spread, on {each['rows']:,} rows", _size(facts)]
    if "largest_move_in_two" in each:
        lines.insert(1, f"          {each['largest_move_in_two']:.2g} where half of a text is read in a call of its own")
    return lines


def _int8(facts: Facts) -> list[str]:
    each, speed = facts["compared"], facts["speed"]
    (low, high), (least, most) = each["interval"], each["agreement_interval"]
    told = "told apart from none" if each["separable"] else "not told apart from none"
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in speed["rows_per_second"].items())
    return [
        f"agreement {each['agreement']:.2%} [{least:.2%}, {most:.2%}] of {each['answers']:,} answers are the run's, {each['rows']:,} rows",
        f"quality   {words.figure_name(each['figure'])} {each['run']:.4f} before, {each['int8']:.4f} in 8 bits: "
        f"{each['drop']:.4f} [{low:.4f}, {high:.4f}] worse, {told}",
        f"speed     rows a second, {speed['threads']} threads, one batch of {speed['rows']}, this machine: {rates}",
        f"{_size(facts)}, {facts['whole_bytes'] / 1e6:,.1f} MB before",
    ]


def _gguf(facts: Facts) -> list[str]:
    each = facts["compared"]
    return [
        f"tensors   {each['tensors']} read back: largest difference {each['largest_difference']:.2g} of the tensor's largest value",
        f"compared  largest move of an answer with these weights {each['largest_move']:.2g} of their spread, on {each['rows']:,} rows",
        "runtime   llama.cpp itself was not asked: what its own code makes of this file is not proven here",
        _size(facts),
    ]


def _vllm(facts: Facts) -> list[str]:
    names = ", ".join(f"{each['name']} (rank {each['rank']})" for each in facts["adapters"])
    return [
        f"adapters  {names}: every file the run's own, by its digest",
        "runtime   vLLM itself was not asked: its answers are not proven here",
        f"serve     {facts['command']}",
    ]


_LINES = {"onnx": _moved, "int8": _int8, "gguf": _gguf, "vllm": _vllm}


def _size(facts: Facts) -> str:
    return f"size      {facts['bytes'] / 1e6:,.1f} MB"


def _example(facts: Facts) -> str:
    """Python that answers with the runtime and the tokenizer alone."""
    read = facts["read"]
    if facts["kind"] == "completion":
        return _writing(facts)
    parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    given = ", ".join(f'"{name}": [each.{parts[name]} for each in read]' for name in facts["inputs"] if name in parts)
    lines = [
        *(["import json"] if facts["labels"] else []),
        "import numpy as np, onnxruntime",
        "from tokenizers import Tokenizer",
        'tokenizer = Tokenizer.from_file("tokenizer.json")',
        *([f"tokenizer.enable_truncation({read['length']})"] if read["length"] and facts["kind"] != "span" else []),
        f"tokenizer.enable_padding(pad_id={read['pad_id']}, pad_token={read['pad_token']!r})",
        f"read = tokenizer.encode_batch([{_asked(facts)}])",
        f"given = {{{given}}}",
        'session = onnxruntime.InferenceSession("model.onnx")',
        "made = session.run(None, {name: np.array(rows, np.int64) for name, rows in given.items()})",
    ]
    return "\n".join(lines + _answers(facts["kind"], labels=bool(facts["labels"])))


def _writing(facts: Facts) -> str:
    """The same for a graph that goes on with a text: what one call gives to remember the next one takes."""
    keeps = facts["keeps"]
    return "\n".join(
        [
            "import numpy as np, onnxruntime",
            "from tokenizers import Tokenizer",
            'tokenizer = Tokenizer.from_file("tokenizer.json")',
            'session = onnxruntime.InferenceSession("model.onnx")',
            'ids, written = np.array([tokenizer.encode("a first text").ids], np.int64), []',
            f'names = [f"{{layer}}.{{part}}" for layer in range({keeps["layers"]}) for part in ("key", "value")]',
            f"kept = [np.zeros((1, {keeps['heads']}, 0, {keeps['width']}), np.float32) for _ in names]",
            "for _ in range(32):",
            "    mask = np.ones((1, kept[0].shape[2] + ids.shape[1]), np.int64)",
            '    past = {f"past.{name}": part for name, part in zip(names, kept)}',
            '    logits, *kept = session.run(None, {"input_ids": ids, "attention_mask": mask, **past})',
            "    ids = logits[:, -1:].argmax(-1)",
            f"    if ids.item() in {facts['ends']}:",
            "        break",
            "    written.append(ids.item())",
            "print(tokenizer.decode(written))",
        ]
    )


def _asked(facts: Facts) -> str:
    if facts["kind"] == "span":
        return '("Who wrote it?", "Ada wrote it in 1843.")'
    return '("a first text", "a second text")' if facts["pair"] else '"a first text", "a second text"'


def _answers(kind: Any, *, labels: bool) -> list[str]:
    names = ['labels = json.load(open("labels.json"))'] if labels else []
    if kind == "class":
        return [*names, "print([labels[best] for best in made[0].argmax(-1)])"]
    if kind == "classes":
        return [*names, "print([[labels[i] for i in np.flatnonzero(row > 0)] for row in made[0]])"]
    if kind == "tags":
        return [*names, "print([[labels[best] for best in row] for row in made[0].argmax(-1)])  # a tag for each token"]
    if kind == "span":
        return ["first, last = (scores[0].argmax() for scores in made)", "print(read[0].offsets[first][0], read[0].offsets[last][1])"]
    return ["print(made[0])"]
