"""Peak memory of one call on a CPU: how far a fresh process grows while it generates, compiled code set aside.

    python -m benchmarks.speed.memory vssm 64 784 2        prints bytes, with 2 threads

Linux with glibc only: the peak is read from /proc/self, where it can also be reset, and memory that was freed is given
back first.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.models import PIXELS_1M
from benchmarks.speed.contenders import Contender, contender


def available() -> bool:
    """Whether this system can tell."""
    return platform.libc_ver()[0] == "glibc" and Path("/proc/self/clear_refs").exists()


def growth(model: Contender, samples: int, length: int) -> int:
    """Bytes of resident memory at the peak of one call more than before it."""
    model.warm_up(samples, length)
    model.release()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what there is
    before = _status("VmRSS")
    model.generate(samples, length)
    return max(0, _status("VmHWM") - before)


def in_fresh_process(name: str, samples: int, length: int, timeout: float) -> int | None:
    """`growth` of a model of `PIXELS_1M`'s size; None when it takes longer than `timeout` seconds, or fails."""
    threads = torch.get_num_threads()
    command = [sys.executable, "-m", __name__, name, str(samples), str(length), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    return int(done.stdout.split()[-1])


def _status(field: str) -> int:
    """A size of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    print(growth(contender(sys.argv[1], PIXELS_1M, torch.device("cpu")), int(sys.argv[2]), int(sys.argv[3])))
