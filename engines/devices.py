"""The only place that looks at hardware: which devices there are, their memory, number format and threads.

`probe` loads no torch (the driver is asked directly), so that the bot answers at once; `ready` is called on the
device's own thread and does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from engines.words import Refusal, Words

log = logging.getLogger(__name__)

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container, "max" = none
MEMORY_TOLD = Path("/proc/meminfo")
PROCESSOR_TOLD = Path("/proc/cpuinfo")
BFLOAT16 = ("avx512_bf16", "amx_bf16")  # as Linux calls the units that multiply it
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Device:
    """Something that steps."""

    name: str  # as torch says it: "cpu", "mps", "cuda:0"
    label: str = ""  # as people say it: "NVIDIA H200"
    memory: int = 0  # bytes in all; 0 = unknown
    dtype: str = "float32"
    threads: int = 0  # of the CPU; 0 = torch's own choice

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]


def probe(names: Sequence[str] = ("auto",), *, dtype: str = "auto", threads: int = 0) -> list[Device]:
    """The devices to use.

    Args:
        names: "auto" (every CUDA device, else Apple's GPU, else the CPU), "cpu", "mps", "cuda" (all) or "cuda:N";
            "cpu:0", "cpu:1", … are lanes of their own that share the CPU's cores and memory.
        dtype: "auto" (float32 on CPU and Apple, bfloat16 or float16 on CUDA) or one of `DTYPES`.
        threads: CPU threads a step; 0 = as many as this process may use.

    Raises:
        Refusal: a name or dtype that is not known, or a device that is not there.
    """
    if dtype not in ("auto", *DTYPES):
        raise Refusal(_DTYPE(said=dtype, known=", ".join(("auto", *DTYPES))))
    found = list(dict.fromkeys(device for name in names for device in _named(name.strip().lower())))
    lanes = max(1, sum(device.kind == "cpu" for device in found))  # which share one memory and its cores
    return [
        replace(
            d,
            dtype=d.dtype if dtype == "auto" else dtype,
            memory=d.memory // lanes if d.kind == "cpu" else d.memory,
            threads=threads or (max(1, _cores() // lanes) if d.kind == "cpu" else _cores()),
        )
        for d in found
    ]


def ready(device: Device) -> Device:
    """Set torch up for this device on this thread; the CPU instead where torch cannot use it. Imports torch."""
    import torch

    if device.kind == "cuda" and not torch.cuda.is_available():
        log.error(
            "%s (%s) is there but this torch cannot use it; the CPU does its work", device.name, device.label
        )
        device = replace(_cpu(), threads=device.threads)
    if device.kind == "cpu":
        torch.set_num_threads(max(1, device.threads or _cores()))
    elif device.kind == "cuda":
        torch.cuda.set_device(device.name)
        torch.backends.cuda.matmul.allow_tf32 = device.dtype != "float32"
        torch.backends.cudnn.allow_tf32 = device.dtype != "float32"
    return device


def waited_for(name: str) -> None:
    """Return when the device has done all that this thread asked of it. Only then is it known how long that took."""
    torch = sys.modules["torch"]
    if name.startswith("cuda"):
        torch.cuda.current_stream(name).synchronize()
    elif name.startswith("mps"):
        torch.mps.synchronize()


def emptied(device: Device) -> None:
    """Let the allocator give memory back to the device after models were evicted. Imports torch."""
    import gc

    import torch

    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def quick_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, as the kernel tells it. False where nobody does."""
    told = PROCESSOR_TOLD.read_text() if PROCESSOR_TOLD.is_file() else ""
    flags = re.search(r"^flags\s*:(.*)$", told, re.MULTILINE)
    return flags is not None and not set(flags[1].split()).isdisjoint(BFLOAT16)


def memory_used(device: Device) -> int:
    """Bytes taken: of a GPU by everybody, of main memory by this process. 0 = unknown. From any thread."""
    if device.kind == "cuda" and "torch" in sys.modules:
        torch = sys.modules["torch"]
        with suppress(RuntimeError):  # the driver does not answer
            free, total = torch.cuda.mem_get_info(device.name)
            return int(total - free)
    if device.kind != "cuda" and (told := Path("/proc/self/statm")).is_file():
        return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def memory_free(device: Device) -> int:
    """Bytes that a step may still take, what torch keeps in hand for it included. 0 = unknown."""
    if device.kind == "cuda" and "torch" in sys.modules:
        torch = sys.modules["torch"]
        with suppress(RuntimeError):  # the driver does not answer
            free, _ = torch.cuda.mem_get_info(device.name)
            kept = torch.cuda.memory_reserved(device.name) - torch.cuda.memory_allocated(device.name)
            return int(free + kept)
    if device.kind == "cpu" and device.memory and MEMORY_TOLD.is_file():
        available = re.search(r"^MemAvailable: *(\d+) kB", MEMORY_TOLD.read_text(), re.MULTILINE)
        free = 1024 * int(available[1]) if available else device.memory
        return max(1, min(free, device.memory - memory_used(device)))
    return 0


def model_budget(device: Device) -> int | None:
    """Bytes that models may take when nobody said: the rest is for the pictures in flight. None = unknown."""
    share = 0.7 if device.kind == "cuda" else 0.4
    return int(device.memory * share) if device.memory else None


def host_budget(wanted: int) -> int:
    """Bytes of main memory for models beside those on GPUs: what is wanted, but never more than a quarter."""
    whole = _memory()
    return min(wanted, whole // 4) if whole else wanted


def _named(name: str) -> list[Device]:
    if name == "auto":
        return _cuda() or _mps() or [_cpu()]
    if name == "cpu":
        return [_cpu()]
    if name.startswith("cpu:") and name[4:].isdecimal():
        return [replace(_cpu(), name=name)]
    there = {"cuda": _cuda, "mps": _mps}.get(name.partition(":")[0])
    if there is None:
        raise Refusal(_UNKNOWN(said=name))
    found = [device for device in there() if name in (device.name, device.kind)]
    if not found:
        raise Refusal(_ABSENT(said=name))
    return found


def _cpu() -> Device:
    return Device("cpu", platform.processor() or platform.machine() or "CPU", _memory())


def _mps() -> list[Device]:
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return []
    return [Device("mps", "Apple GPU", _memory())]


def _cuda() -> list[Device]:
    """NVIDIA devices as the driver tells them; CUDA_VISIBLE_DEVICES is heeded.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
    """
    driver, count = _nvidia(), ctypes.c_int()
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_cuda_device(driver, index) for index in range(count.value)]


def _nvidia() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return None


def driver() -> str:
    """The newest CUDA that the installed NVIDIA driver can serve, "12.8" for instance; "" where there is none."""
    nvidia, version = _nvidia(), ctypes.c_int()
    if nvidia is None or nvidia.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _cuda_device(driver: ctypes.CDLL, index: int) -> Device:
    handle, size = ctypes.c_int(), ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    label = ctypes.create_string_buffer(100)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(label, len(label), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    driver.cuDeviceComputeCapability(ctypes.byref(major), ctypes.byref(minor), handle)
    dtype = "bfloat16" if major.value >= 8 else "float16"  # bfloat16 units came with compute capability 8.0
    return Device(f"cuda:{index}", label.value.decode(errors="replace"), size.value, dtype)


def _cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of main memory, or of the container's limit where that is less; 0 = unknown."""
    sizes = []
    with suppress(ValueError, OSError, AttributeError):  # not on every system
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if MEMORY_LIMIT.is_file() and (told := MEMORY_LIMIT.read_text().strip()).isdigit():
        sizes.append(int(told))
    return min(sizes, default=0)


_DTYPE = Words(
    "The number format `{said}` is not known. Choose one of: {known}.",
    "`{said}`은(는) 알 수 없는 수 형식입니다. 다음 중에서 골라 주십시오: {known}.",
)
_UNKNOWN = Words(
    "The device `{said}` is not known. Choose auto, cpu, mps, cuda or cuda:0, cuda:1 …",
    "`{said}`은(는) 알 수 없는 장치입니다. auto, cpu, mps, cuda, cuda:0, cuda:1 … 중에서 골라 주십시오.",
)
_ABSENT = Words(
    "There is no device `{said}` on this machine. `auto` takes what is there.",
    "이 컴퓨터에는 `{said}` 장치가 없습니다. `auto`로 두면 있는 장치를 사용합니다.",
)
