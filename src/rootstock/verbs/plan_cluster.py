"""Before spending on many devices: memory, communication, time and money of each way of sharing one pre-training."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from rootstock.bases import blank
from rootstock.core import layers
from rootstock.core.errors import BaseError, UsageError
from rootstock.core.loaded import Head
from rootstock.planning import cluster, devices, links, scaling, shapes
from rootstock.planning.cluster_memory import Way
from rootstock.planning.shapes import Shape
from rootstock.verbs import plan_words
from rootstock.verbs.plan_words import THIS_MACHINE

LENGTH, BATCH = 4096, 4 * 2**20
"""Tokens of a row and of an update where nothing is said: Llama 2's (Touvron et al. 2023, section 2.2)."""
_LEAST_WORKERS, _MOST_WORKERS = 1, 65_536
FORMULAS = {
    "useful operations": "6 N + 12 L d s for each token (s: its row's); done again with recompute: 2 L B + 4 L d s",
    "compute": "tokens of an update x operations / (W x utilisation x peak)",
    "data, ddp": "2 (D - 1) / D x 4 N bytes once an update, after computing",
    "data, fsdp": "(D - 1) / D x (2 c + 4) N / t bytes for each micro-batch, beside computing",
    "tensor": "4 L (with recompute 6 L) all-reduces of 2 (t - 1) / t x c T d bytes for each micro-batch, between computing",
    "host": "12 N / W bytes for each micro-batch, beside computing; then AdamW moves 28 N / W in the machine's memory",
    "update": "compute + exposed; exposed: all of ddp's, tensor's and AdamW's, and what the rest takes longer than computing",
    "efficiency": "compute / (compute + exposed): for fsdp compute / max(compute, communication), as all of it may go beside computing",
}
"""Of time and traffic; those of memory stand at each part."""


@dataclass(frozen=True, kw_only=True)
class AskedCluster:
    """A question about many devices. model: a size such as 70b; base: a config instead. tokens: of the training, None: compute-optimal.

    per_node, network: devices of a machine, and Gbit/s of its cards; None: as usual for the device. price: dollars of a device and hour.
    """

    workers: int
    device: str
    model: str | None = None
    base: str | None = None
    length: int = LENGTH
    batch: int = BATCH
    micro: int | None = None
    tokens: float | None = None
    memory_bytes: int | None = None
    per_node: int | None = None
    network: float | None = None
    precision: str = "auto"
    price: float | None = None


def plan(asked: AskedCluster) -> dict[str, Any]:
    """Each way of sharing as JSON, and which is the quickest that fits. UsageError with the least change where none fits."""
    _check(asked)
    shape, place = shape_of(asked), place_of(asked)
    optimal = scaling.plan(scaling.PUBLISHED, parameters=shape.parameters)
    tokens = asked.tokens or float(optimal["tokens"])
    job = cluster.Job(shape=shape, length=asked.length, batch=asked.batch, tokens=tokens, micro=asked.micro)
    found = cluster.outlooks(job, place)
    best = cluster.quickest(found)
    if best is None:
        raise cluster.refusal(job, place, found)
    own = cluster.quickest([each for each in found if each.way.here])
    return {
        "model": {**asdict(shape), "parameters": shape.parameters},
        "device": asdict(place.device),
        "prices": plan_words.priced(asked.price, place.device)[1],
        "links": {**asdict(place.links), "reached": links.REACHED},
        "work": {"workers": asked.workers, "length": asked.length, "batch_tokens": asked.batch, "precision": place.precision},
        "tokens": {
            "planned": tokens,
            "compute_optimal": optimal["tokens"],
            "compute_optimal_days": best.days * optimal["tokens"] / tokens,
            "expected_loss": _loss(shape, tokens),
        },
        "utilisation": {"assumed": cluster.utilisation(place.device.name), "tokens_flops": shape.flops(asked.length)},
        "strategies": [told(each) for each in found],
        "quickest": best.way.name,
        "quickest_here": own.way.name if own else None,
        "formulas": FORMULAS,
        "notes": list(_notes(asked, shape, place, found)),
    }


def told(found: cluster.Outlook) -> dict[str, Any]:
    """One way of sharing as JSON."""
    plain = asdict(found)
    way, held, spent = plain.pop("way"), plain.pop("held"), plain["spent"]
    memory = {"parts": list(held["parts"]), "total_bytes": found.held.total, "host_bytes": held["host"]}
    recipe = settings(found.way) if found.way.here else None
    first = {"strategy": way["name"], "here": way["here"], "tensor": way["tensor"], "recipe": recipe, "memory": memory}
    return {**first, **plain, "spent": {**spent, "step": found.spent.step}}


def shape_of(asked: AskedCluster) -> Shape:
    """The shape that a size stands for, or a base's, counted on the meta device. UsageError for both or neither."""
    if (asked.model is None) == (asked.base is None):
        given = "both --model and --base are given" if asked.model else "neither --model nor --base is given"
        raise UsageError(given, wanted="a size, such as --model 70b, or a config, such as --base huggyllama/llama-7b")
    return shapes.of_size(asked.model) if asked.model else of_base(asked.base or "")


def of_base(base: str) -> Shape:
    """A base's shape as its own class counts it, with its layer over the vocabulary. BaseError for what is no single stack of blocks."""
    import transformers

    kind = str(blank.config_of(base).get("model_type"))
    try:
        known = transformers.CONFIG_MAPPING[kind]  # lazy: its get() finds nothing
    except KeyError:
        known = None
    masked = known in transformers.AutoModelForMaskedLM._model_mapping
    if known not in transformers.AutoModelForCausalLM._model_mapping and not masked:
        raise BaseError(
            f"{base} is a {kind}", wanted="one stack of blocks that learns from text alone", fix="choose another base or --model"
        )
    model: Any = blank.blank(base, Head(auto="AutoModelForMaskedLM" if masked else "AutoModelForCausalLM")).model
    return _counted(blank.name_of(base) or base, model)


def _counted(name: str, model: Any) -> Shape:
    config, stack, table = model.config, layers.blocks(model), model.get_input_embeddings()
    unlike = getattr(config, "is_encoder_decoder", False) or len({_size(each) for each in stack}) > 1
    if not stack or table is None or unlike or len(stack) != getattr(config, "num_hidden_layers", 0):
        raise BaseError(f"the blocks of {name} are not all alike", wanted="one stack of equal blocks", fix="choose another base or --model")
    width, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    queries, keys = heads * head, (getattr(config, "num_key_value_heads", None) or heads) * head
    inner = next((size for key in ("intermediate_size", "n_inner", "hidden_dim") if (size := getattr(config, key, None))), 4 * width)
    block = _size(stack[0])
    windowed = sum(each == "sliding_attention" for each in getattr(config, "layer_types", None) or ())
    return Shape(
        name=name,
        blocks=len(stack),
        width=width,
        queries=queries,
        keys=keys,
        head=head,
        inner=inner,
        gated=block - 2 * width * (queries + keys) > 2.5 * width * inner,
        vocabulary=table.weight.shape[0],
        block=block,
        root=_size(model) - len(stack) * block,
        windowed=windowed,
        window=getattr(config, "sliding_window", None) or 0,
        splits=bool(getattr(model, "tp_plan", None)),
    )


def _size(module: Any) -> int:
    return sum(each.numel() for each in module.parameters())


def place_of(asked: AskedCluster) -> cluster.Place:
    """The device and its links. UsageError for this machine, and for a precision that the device does not have."""
    if asked.device == THIS_MACHINE:
        raise UsageError("--device is not given", wanted="the device of each worker, such as h100 or a100-80gb", fix="give --device")
    device = devices.find(asked.device)
    device = device if asked.memory_bytes is None else replace(device, memory_bytes=asked.memory_bytes)
    precision = plan_words.precision(asked.precision, device)
    if not device.peak(precision):
        raise UsageError(f"{device.name} has no products in {precision}", wanted="fp32", fix="leave --precision out")
    return cluster.Place(
        device=device,
        links=links.of(device.name, per_node=asked.per_node, network=asked.network),
        workers=asked.workers,
        precision=precision,
        hourly=plan_words.priced(asked.price, device)[0],
    )


def _check(asked: AskedCluster) -> None:
    least = (("--length", asked.length, 4), ("--set training.batch_tokens", asked.batch, asked.length))
    plan_words.check(least=least, above_zero={"--memory": asked.memory_bytes, "--price": asked.price}, precision=asked.precision)
    if not _LEAST_WORKERS <= asked.workers <= _MOST_WORKERS:
        raise UsageError(f"--workers is {asked.workers}", wanted=f"{_LEAST_WORKERS} to {_MOST_WORKERS:,}")
    if asked.micro is not None and asked.micro < asked.length:
        raise UsageError(f"training.micro_tokens is {asked.micro}", wanted=f"a row at least: {asked.length} tokens")


def _loss(shape: Shape, tokens: float) -> float:
    return float(scaling.expected(scaling.PUBLISHED.law_5, shape.parameters, tokens))


def _notes(asked: AskedCluster, shape: Shape, place: cluster.Place, found: list[cluster.Outlook]) -> Iterator[str]:
    """What a reader has to know before he trusts this."""
    if any(each.way.shards for each in found):
        whole = 4 * shape.parameters / 1e9
        yield f"fsdp here needs {whole:,.1f} GB once in the first worker's machine, to load the model and to save it"
    if any(each.way.tensor > 1 and each.way.shards for each in found):
        yield "tensor groups with fsdp across are not in Rootstock's loop, which has one group alone: those columns are for other engines"
    elif any(not each.way.here for each in found):
        yield f"{shape.name} brings no plan for tensor parallelism: those columns are for other engines"
    if shape.parameters < _SMALL:
        yield "small models reach less of the peak than is assumed here: BERT-base took twice the time (docs/planning.md)"
    for each in found:
        if abs(each.batch / asked.batch - 1) > _OTHER:
            yield f"{each.way.name}: each data group takes whole rows, so an update has {each.batch:,} tokens"
    if place.workers > place.links.per_node and place.workers % place.links.per_node:
        yield f"{place.workers} workers do not fill machines of {place.links.per_node}"


_SMALL = 500e6
"""Parameters under which the assumed utilisation is known to be too high."""
_OTHER = 0.1
"""Share by which an update may differ from what was asked for without a word."""


def settings(way: Way) -> str:
    """How a recipe asks for a way of sharing."""
    parts = [f"cluster.strategy={'fsdp' if way.shards else 'tensor' if way.tensor > 1 else 'ddp'}"]
    parts += [f"cluster.{name}=true" for name in ("recompute", "offload") if getattr(way, name)]
    return " ".join(f"--set {each}" for each in parts)
