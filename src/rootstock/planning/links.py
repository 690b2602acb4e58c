"""What joins devices: links within a machine and between machines, by their makers' data sheets."""

from dataclasses import dataclass, replace

from rootstock.core.errors import UsageError

REACHED = 0.8
"""Share of a link's peak that a collective reaches: of the 450 GB/s that an H100 sends over NVLink 376 to 380 were measured
(github.com/NVIDIA/nccl/issues/1264), 0.84; the rest is left for messages that are not large."""
HOST_BYTES = 400e9
"""Bytes a second that a machine's processors read and write, shared by its workers: two sockets of eight channels of DDR4-3200
(409.6 GB/s by JEDEC's standard); an optimizer of offloaded shards is bound by it."""


@dataclass(frozen=True, kw_only=True)
class Links:
    """Bytes a second at their peak, in one direction. within: of one device to the others of its machine.

    between: of one machine to the others, all of its network cards together. host: of one device to its machine's memory.
    per_node: devices of a machine.
    """

    within: float
    between: float
    host: float
    per_node: int
    source: str

    def data(self, workers: int, tensor: int) -> float:
        """What each device of a ring reaches that takes every `tensor`-th of the workers; so many rings share a machine's cards."""
        slowest = self.within if workers <= self.per_node else min(self.within, self.between / tensor)
        return REACHED * slowest


def _links(gigabytes: tuple[float, float, float], per_node: int, source: str) -> Links:
    within, between, host = (each * 1e9 for each in gigabytes)
    return Links(within=within, between=between, host=host, per_node=per_node, source=source)


_ETHERNET = "PCIe alone; 100 Gbit/s Ethernet a machine"
_PCIE_3, _PCIE_4 = (_links((rate, 12.5, rate), 8, f"PCIe {version} x16, {_ETHERNET}") for version, rate in (("3.0", 16), ("4.0", 32)))
_A100 = _links((300, 200, 32), 8, "NVIDIA DGX A100 data sheet, 2020: NVLink 3, 600 GB/s both ways; 8 x 200 Gbit/s InfiniBand")
_H100 = _links((450, 400, 64), 8, "NVIDIA DGX H100 data sheet, 2022: NVLink 4, 900 GB/s both ways; 8 x 400 Gbit/s InfiniBand")
LINKS = {
    "v100-16gb": _links((150, 50, 16), 8, "NVIDIA DGX-1 with V100, 2017: NVLink 2, 300 GB/s both ways; 4 x 100 Gbit/s InfiniBand"),
    "v100-32gb": _links((150, 100, 16), 8, "NVIDIA DGX-2 data sheet, 2018: NVLink 2, 300 GB/s both ways; 8 x 100 Gbit/s InfiniBand"),
    "a100-40gb": _A100,
    "a100-80gb": _A100,
    "h100": _H100,
    "h200": replace(_H100, source="NVIDIA DGX H200 data sheet, 2024: NVLink 4, 900 GB/s both ways; 8 x 400 Gbit/s InfiniBand"),
    "b200": _links((900, 400, 64), 8, "NVIDIA DGX B200 data sheet, 2024: NVLink 5, 1.8 TB/s both ways; 8 x 400 Gbit/s InfiniBand"),
    "t4": _PCIE_3,
}
"""By the name of the device, in machines that are usual for it; all others have PCIe 4.0 alone."""


def of(device: str, *, per_node: int | None = None, network: float | None = None) -> Links:
    """Links of a device. per_node: devices of a machine; network: Gbit/s of a machine's cards together. None: as usual for it."""
    found = LINKS.get(device, _PCIE_4)
    for option, value in (("--per-node", per_node), ("--network", network)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{option} is {value:g}", wanted="more than 0")
    between = found.between if network is None else network * 1e9 / 8
    return replace(found, per_node=per_node or found.per_node, between=between)
