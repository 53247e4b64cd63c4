"""A tensor function as CUDA graphs: captured once for each bucket of shapes, then replayed without Python between.

    rows    the first dimension of every tensor, padded up to one of ROWS
    steps   the second dimension of those named as timed, padded up to one of the given steps

The function must be pure, must not wait for the device, and must give a row and its earlier steps the same values
whatever stands beside and behind them: padding is what earlier calls left there. Tensors on the CPU take the same way
but for the capture. All graphs share one pool of memory, since only one runs at a time. Knows nothing of models.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Function = Callable[[Tensors, int], Tensors]  # (inputs, steps) -> outputs

ROWS = tuple(1 << k for k in range(13))
STEPS = (1, 16, 64, 256, 1024, 4096, 16384)
LARGEST = 1 << 17  # rows x steps: beyond, kernels last so long that launching them costs nothing, and padding does


class Graphs:
    """At most `limit` graphs, the least recently used one is forgotten; `steps` are the buckets."""

    def __init__(self, steps: Iterable[int] = STEPS, limit: int = 64) -> None:
        self._steps, self._limit = sorted(set(steps)), limit
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._graphs)

    def run(
        self, name: Hashable, function: Function, inputs: Tensors, steps: int, timed: Collection[str] = ()
    ) -> Tensors:
        """`function(inputs, steps)`; what it returns is valid until the next call.

        The same `name` stands for the same function and the same kinds of tensors; `timed` names inputs and outputs.
        """
        rows = next(iter(inputs.values())).shape[0]
        shape = _bucket(rows, ROWS), _bucket(steps, self._steps)
        if shape[0] is None or shape[1] is None or shape[0] * shape[1] > LARGEST:
            return function(inputs, steps)
        key = (name, shape)
        if key not in self._graphs:
            while len(self._graphs) >= self._limit:
                self._graphs.popitem(last=False)
            self._graphs[key] = graph = _Graph(function, inputs, shape[0], shape[1], timed)
            if next(iter(inputs.values())).is_cuda:
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                graph.capture(self._pool)
        self._graphs.move_to_end(key)
        outputs = self._graphs[key].replay(inputs)
        return {k: v[:rows, :steps] if k in timed else v[:rows] for k, v in outputs.items()}


def _bucket(count: int, sizes: Iterable[int]) -> int | None:
    return next((size for size in sizes if size >= count), None)


class _Graph:
    """One function at one shape, with inputs and outputs of its own."""

    def __init__(self, function: Function, inputs: Tensors, rows: int, steps: int, timed: Collection[str]) -> None:
        self._function, self._steps = function, steps
        self._inputs = {
            name: x.new_zeros(rows, steps, *x.shape[2:]) if name in timed else x.new_zeros(rows, *x.shape[1:])
            for name, x in inputs.items()
        }
        self._graph: torch.cuda.CUDAGraph | None = None

    def capture(self, pool: Any) -> None:
        """Two calls outside the graph first: they compile kernels and fill caches, which may not happen inside."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._function(self._inputs, self._steps)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = self._function(self._inputs, self._steps)

    def _fill(self, inputs: Tensors) -> None:
        for name, x in inputs.items():
            self._inputs[name][tuple(slice(0, n) for n in x.shape)].copy_(x)

    def replay(self, inputs: Tensors) -> Tensors:
        self._fill(inputs)
        if self._graph is None:
            return self._function(self._inputs, self._steps)
        self._graph.replay()
        return self._outputs
