"""A training step on CUDA as a graph: launched once, where Python would launch a thousand kernels one by one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vssm.training.errors import TrainingError

_PLAIN_STEPS = 3  # before the capture: they compile kernels and fill caches, which may not happen inside


class Replayed:
    """`function(x)`, which must not wait for the device and reads and changes only tensors that stay where they are.

    All x have one shape. Random numbers come from `noise` alone, seeded by the caller before every call.
    """

    def __init__(self, function: Callable[[Tensor], None], noise: torch.Generator) -> None:
        self._function, self._noise, self._calls = function, noise, 0
        self._stream = torch.cuda.Stream(noise.device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor) -> None:
        if self._calls < _PLAIN_STEPS:
            self._calls += 1
            self._plain(x.to(self._noise.device))
            return
        if self._graph is None:
            self._x = x.to(self._noise.device)
            self._capture()
            assert self._graph is not None
        self._x.copy_(x)
        self._graph.replay()

    def _plain(self, x: Tensor) -> None:
        """On the stream of the capture, as a gradient is added up on the stream where that was first done."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._function(x)
        current.wait_stream(self._stream)

    def _capture(self) -> None:
        """Note what a step does, without doing it. Raises: TrainingError for what cannot be noted."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._noise)
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._function(self._x)
        except RuntimeError as error:
            raise TrainingError(
                f"the steps of this model cannot be made a CUDA graph ({error}): train with training.graphs=false"
            ) from error
        self._graph = graph
