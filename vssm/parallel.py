"""Compiled kernels over rows, one slice of rows a thread. Knows nothing of what the kernels compute."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

_local = threading.local()
_SERIAL_ELEMENTS = 1 << 18  # below this a kernel is done before a second thread has woken up


def thread_count() -> int:
    """Threads of the kernels: torch's number, also where `torch_alone` keeps torch from using it."""
    return getattr(_local, "count", None) or torch.get_num_threads()


@contextmanager
def torch_alone() -> Iterator[None]:
    """Within, torch's own operations run on one thread.

    Its other threads wait for their next work by spinning, on the cores that the kernels' threads need.
    """
    if getattr(_local, "count", None) is not None:
        yield
        return
    _local.count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_local.count)
        _local.count = None


def array(x: Tensor) -> np.ndarray[Any, Any]:
    """The values of a CPU tensor as a contiguous numpy array, shared where possible."""
    values: np.ndarray[Any, Any] = x.detach().resolve_conj().contiguous().numpy()
    return values


def over_rows(kernel: Any, arrays: list[np.ndarray[Any, Any]], shared: int = 0) -> None:
    """Run `kernel(*arrays)` on slices of the first dimension; the first `shared` arrays are given whole."""
    rows, threads = arrays[-1].shape[0], thread_count()
    if threads == 1 or rows == 1 or arrays[-1].size < _SERIAL_ELEMENTS:
        kernel(*arrays)
        return
    cuts = np.linspace(0, rows, min(threads, rows) + 1).astype(int)
    parts = [arrays[:shared] + [x[i:j] for x in arrays[shared:]] for i, j in pairwise(cuts)]
    list(_pool(threads).map(lambda part: kernel(*part), parts))


def in_parts(cuts: Sequence[int], kernel: Any, *arguments: Any) -> None:
    """Run `kernel(first, last, *arguments)` between every two neighbours of `cuts`, each on a thread of its own."""
    *others, own = pairwise(cuts)
    running = [_pool(len(others)).submit(kernel, first, last, *arguments) for first, last in others]
    kernel(*own, *arguments)
    for part in running:
        part.result()


def over_threads(count: int, worth: int, unit: int, kernel: Any, *arguments: Any) -> None:
    """Run `kernel(first, last, *arguments)` over 0..count on torch's number of threads, or the `worth` of the work."""
    threads = min(thread_count(), worth)
    if threads <= 1:
        kernel(0, count, *arguments)
    else:
        in_parts(even_cuts(count, threads, unit), kernel, *arguments)


def even_cuts(count: int, most: int, unit: int = 1) -> list[int]:
    """Bounds of at most `most` parts of 0..count, about even, each but the last a multiple of `unit`."""
    units = -(-count // unit)
    parts = max(1, min(most, units))
    return [min(count, unit * (units * i // parts)) for i in range(parts + 1)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="vssm-kernel")
