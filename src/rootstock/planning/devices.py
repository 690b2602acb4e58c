"""What machines can do, by their makers' data sheets; and what they cost by the hour."""

from dataclasses import dataclass

from rootstock.core.errors import UnknownName

PRICES = "on-demand list prices of large clouds in 2024 and 2025, rounded; yours goes before: --price"


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device. memory_bytes: in decimal gigabytes, as sold. bf16, fp32: dense operations a second at their peak; 0: not in hardware.

    hourly: US dollars, None where it is nobody's list price.
    """

    name: str
    memory_bytes: int
    bf16: float
    fp32: float
    hourly: float | None = None
    source: str = ""

    def peak(self, precision: str) -> float:
        """Operations a second in "bf16" or "fp32"; fp32 on a GPU with tensor cores is without TF32."""
        return self.bf16 if precision == "bf16" else self.fp32

    @property
    def best(self) -> str:
        """The precision that auto takes: bf16 where the device has it."""
        return "bf16" if self.bf16 else "fp32"


def _gpu(name: str, gigabytes: float, teraflops: tuple[float, float], hourly: float | None, source: str) -> Device:
    bf16, fp32 = (each * 1e12 for each in teraflops)
    return Device(name=name, memory_bytes=int(gigabytes * 1e9), bf16=bf16, fp32=fp32, hourly=hourly, source=source)


_ALL = (
    _gpu("t4", 16, (0, 8.1), 0.53, "NVIDIA T4 data sheet, 2019"),
    _gpu("v100-16gb", 16, (0, 15.7), 2.48, "NVIDIA V100 data sheet, 2020"),
    _gpu("v100-32gb", 32, (0, 15.7), 3.06, "NVIDIA V100 data sheet, 2020"),
    _gpu("rtx-3060-12gb", 12, (25.5, 12.7), None, "NVIDIA Ampere GA10x whitepaper, 2021"),
    _gpu("rtx-3090", 24, (71, 35.6), None, "NVIDIA Ampere GA102 whitepaper, 2021"),
    _gpu("rtx-4060-8gb", 8, (30.2, 15.1), None, "NVIDIA Ada whitepaper, 2023"),
    _gpu("rtx-4090", 24, (165.2, 82.6), None, "NVIDIA Ada whitepaper, 2022"),
    _gpu("l4", 24, (121, 30.3), 0.80, "NVIDIA L4 data sheet, 2023"),
    _gpu("a10", 24, (125, 31.2), 1.01, "NVIDIA A10 data sheet, 2021"),
    _gpu("l40s", 48, (362, 91.6), 1.86, "NVIDIA L40S data sheet, 2023"),
    _gpu("a100-40gb", 40, (312, 19.5), 3.67, "NVIDIA A100 data sheet, 2021"),
    _gpu("a100-80gb", 80, (312, 19.5), 5.12, "NVIDIA A100 data sheet, 2021"),
    _gpu("h100", 80, (989, 67), 6.88, "NVIDIA H100 SXM data sheet, 2023"),
    _gpu("h200", 141, (989, 67), 7.91, "NVIDIA H200 data sheet, 2024"),
    _gpu("b200", 180, (2250, 75), 14.24, "NVIDIA HGX B200 data sheet, 2024"),
)
DEVICES = {each.name: each for each in _ALL}
"""By name, from the smallest to the largest of each kind."""


def find(name: str) -> Device:
    """A device by its name, or UnknownName with the nearest."""
    if name not in DEVICES:
        raise UnknownName("device", name, DEVICES)
    return DEVICES[name]
