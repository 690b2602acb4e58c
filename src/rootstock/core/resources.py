"""What the machine has: processors, memory, number formats; and the settings that must come before torch is imported."""

import ctypes
import gc
import os
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Their numbers in glibc's malloc.h."""


_CAPACITY, _UNSET = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", 1024
"""oneDNN's variable for how many products it keeps the code of, and its own number."""


def kept_products() -> int:
    """How many products of bf16 oneDNN keeps the code of."""
    named = os.environ.get(_CAPACITY, "")
    return int(named) if named.isdigit() else _UNSET


def prepare_threads() -> None:
    """Make OpenMP's threads sleep when they wait, unless the user chose otherwise.

    Spinning threads collapse beside a busy neighbour: the same training ran at 3.4 rows/s with OpenMP's default and at 56 with this.
    Works only before torch is imported.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Each number of rows has bf16 products of its own, 2 to 10 ms to make, and a run has some 1,500: oneDNN would keep 1,024 of them.
    os.environ.setdefault(_CAPACITY, "8192")


def prepare_memory() -> None:
    """Make large freed tensors go back to the system, unless the user chose otherwise.

    glibc learns from the first large free to keep all that is smaller than 32 MB in an arena of each thread, where tensors leave holes
    that others do not fit: a causal-lm run with two twins took 2.6 GB, with this 1.4 GB and 7 % less processor time. torch is told to ask
    for huge pages, without which fresh memory costs more than it saves; so does a smaller threshold (docs/log.md). And there are as many
    arenas as cores, where glibc makes eight times as many: each thread of a measurement took one that no other had, and kept what it freed.
    Works only before torch is imported.
    """
    if platform.system() != "Linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError):  # another C library than glibc has no mallopt
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)  # a fixed threshold for one would bring back 128 kB for the other
        library.mallopt(_M_ARENA_MAX, max(usable_cores(), 2))
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def give_back() -> None:
    """Let the system have what Arrow and the C library keep of freed memory, where they can: some 50 ms for a gigabyte."""
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if platform.system() == "Linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def settle() -> None:
    """Leave out of all later collections what is there by now: for a process that is ready, and answers from now on.

    A whole collection goes through all that torch and transformers brought, 0.3 s for 440,000 things, and holds up every thread meanwhile.
    What is in a circle now is not freed any more: nothing that is to go later may be among it.
    """
    gc.collect()
    gc.freeze()


def usable_cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(machine, int(text)) if text.isdigit() else machine


def device_memory(device: str) -> int:
    """Bytes that a training may use on "cuda" or "cpu": the GPU's, or what this process may use."""
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory) if device == "cuda" else total_memory()


def peak_memory() -> int:
    """Most bytes this process has held at once: on the GPU where there is one, else in memory."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Bytes that this process holds in memory now; 0 where the system does not say."""
    held = Path("/proc/self/statm")
    return int(held.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if held.exists() else 0


def free_memory(device: str) -> int:
    """Bytes that are free now: on the GPU, or of what this process may use."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    info, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines()) if info.exists() else {}
    free = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else total_memory() // 2
    limit, used = ((group / name).read_text().strip() if (group / name).exists() else "max" for name in ("memory.max", "memory.current"))
    return max(0, min(free, int(limit) - int(used))) if limit.isdigit() and used.isdigit() else free


def private_memory() -> int:
    """Bytes of its own that this process has asked for; OSError where the system does not say."""
    return _status("VmData")


def restart_peak() -> None:
    """Forget the most that was held so far, where the system can (`peak_since`)."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_since() -> int:
    """Most bytes held since `restart_peak`, or ever where the system can't forget."""
    import torch

    if torch.cuda.is_available():
        return peak_memory()
    try:
        return _status("VmHWM")
    except OSError:
        return peak_memory()


def _status(name: str) -> int:
    """A size of /proc/self/status in bytes."""
    found = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    if not found:
        raise OSError(f"/proc/self/status does not tell {name}")
    return int(found[0].split()[1]) * 1024


def bf16_is_fast(device: str) -> bool:
    """Whether products in bf16 are quicker than in fp32 here: a GPU that has it, or avx512_bf16 or amx_bf16 in the processor."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def hardware() -> dict[str, Any]:
    """The machine in a few words, for manifests."""
    import torch

    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": total_memory(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def torch_home() -> Path:
    """Where torch keeps what it fetches: TORCH_HOME, or torch in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser()


def cache_folder() -> Path:
    """Where features and tokens are kept: ROOTSTOCK_CACHE, or the user's cache folder."""
    named = os.environ.get("ROOTSTOCK_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rootstock"


def state_folder() -> Path:
    """Where what the user's runs leave for later is kept: in the user's state folder."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rootstock"
