"""What the figures of a benchmark depend on: the machine and the versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numba
import torch


def machine() -> dict[str, Any]:
    """The CPU, its cores, how busy it is, threads of this process, and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }
