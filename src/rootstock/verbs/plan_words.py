"""What a person asks of a plan, for one device or for many: amounts and settings in words, and what is wrong with them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rootstock.core import sizes
from rootstock.core.errors import UsageError
from rootstock.planning import devices

THIS_MACHINE = "this-machine"
_TRAINING = {"training.micro_tokens": "micro", "training.batch_tokens": "batch"}


def amount(text: str | None, option: str) -> int | None:
    """Bytes as `in_bytes` reads them; of nothing, None. UsageError for anything else."""
    try:
        return None if text is None else sizes.in_bytes(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text}", wanted=str(error)) from None


def tokens(text: str | None) -> float | None:
    """A number of tokens such as 2T, 300B, 5e9; of nothing, None. UsageError for anything else."""
    if text is None:
        return None
    try:
        value = sizes.amount(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise UsageError(f"--tokens is {text}", wanted="a number of tokens such as 2T, 300B or 5e9")
    return value


def told_apart(changes: Mapping[str, Any], *, method: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the method (where there is one), and what a plan reads of training. UsageError for any other key."""
    settings = {key.removeprefix("method."): value for key, value in changes.items() if method and key.startswith("method.")}
    training = {_TRAINING[key]: _tokens(key, value) for key, value in changes.items() if key in _TRAINING}
    others = [key for key in changes if not (method and key.startswith("method.")) and key not in _TRAINING]
    if others:
        wanted = ", ".join(["method.key"] * method + list(_TRAINING))
        raise UsageError(f"a plan does not read {others[0]}", wanted=wanted, fix="leave it out")
    return settings, training


def _tokens(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{key} is {value}", wanted="a number of tokens", fix="give one, such as 8192")
    return value


def check(*, least: Iterable[tuple[str, int, int]], above_zero: Mapping[str, float | None], precision: str) -> None:
    """Raises UsageError. least: options with their values and the least that each may be; above_zero: others, of which a price may be 0."""
    for name, value, fewest in least:
        if value < fewest:
            raise UsageError(f"{name} is {value}", wanted=f"{fewest} or more")
    for name, given in above_zero.items():
        if given is not None and not (0 < given < math.inf or (given == 0 and name == "--price")):
            raise UsageError(f"{name} is {given:g}", wanted="more than 0")
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision is {precision}", wanted="auto, fp32 or bf16")


def precision(asked: str, device: devices.Device) -> str:
    """That of the products: auto is the device's best."""
    return device.best if asked == "auto" else asked


def priced(asked: float | None, device: devices.Device) -> tuple[float | None, str | None]:
    """Dollars an hour, and where they come from, to be said beside a cost; nothing of what a person named."""
    return (device.hourly, devices.PRICES if device.hourly is not None else None) if asked is None else (asked, None)
