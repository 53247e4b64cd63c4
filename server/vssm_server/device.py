"""What a worker computes on, and how much of its memory is taken."""

import os
from pathlib import Path

import torch

from vssm_server.messages import Device

STATM = Path("/proc/self/statm")


def look(name: str) -> Device:
    """A torch device as it is now. Memory (bytes) is the device's; on a CPU that of this process and of the host."""
    kind = name.partition(":")[0]
    if kind != "cuda":
        return Device(name, kind, f"{os.cpu_count()} cores", _resident(), _physical())
    try:
        properties = torch.cuda.get_device_properties(name)
        return Device(name, kind, properties.name, torch.cuda.memory_allocated(name), properties.total_memory)
    except (RuntimeError, AssertionError):  # no such device, no driver, no CUDA in this torch: every model says so too
        return Device(name, kind, "cannot be used", 0, 0)


def _resident() -> int:
    """0 where the system does not tell."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
