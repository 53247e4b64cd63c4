"""One step of generation, and the ways to run it again and again.

    eager     torch's operations one by one
    compiled  `torch.compile`: a few fused C++ kernels a step, called from C++; needs a C++ compiler
    graph     CUDA: the compiled step, captured once for each size of the cache that is looked at, and replayed

A step reads and writes only the buffers of a slot, at places that the buffers themselves hold, so the loop around it
only calls it. A cache that grows is looked at as far as it is filled: on the CPU exactly, in graphs up to a power of
two, what is beyond masked. Compiled code belongs to a number of samples and is kept with the model.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal

import torch
from torch import Tensor

from vssm.baselines.cache import Slot
from vssm.baselines.rival import Rival

Way = Literal["auto", "eager", "compiled", "graph"]
_COMPILED: weakref.WeakKeyDictionary[Rival, Callable[..., None]] = weakref.WeakKeyDictionary()
_LEAST_SEEN = 64
_LOG = logging.getLogger(__name__)


def run_steps(model: Rival, slot: Slot, position: int, steps: int, way: Way = "auto") -> None:
    """`steps` steps from `position` on, with the noise of a slot into its values; nothing but calls in the loop."""
    slot.position.fill_(position)
    slot.index.zero_()
    way = choose(model) if way == "auto" else way
    if way == "graph":
        for at in range(position, position + steps):
            _graph(model, slot, at).replay()
        return
    step = _compiled(model) if way == "compiled" else advance
    buffers = _buffers(slot)
    for tensor in slot.cached if model.grows else ():  # one compilation for all sizes of the cache
        torch._dynamo.mark_dynamic(tensor, 2)
    step(model, _seen(model, slot, position + 1), *buffers)
    with torch.compiler.set_stance(skip_guard_eval_unsafe=True):  # the first step has checked, and compiled if need be
        for at in range(position + 1, position + steps):
            step(model, _seen(model, slot, at + 1), *buffers)


def choose(model: Rival) -> Way:
    """The fastest way on the model's device: graphs on CUDA, compiled on a CPU with a C++ compiler, else eager."""
    if model.device.type == "cuda":
        return "graph"
    return "compiled" if _compiler_works() else "eager"


def advance(
    model: Rival,
    seen: Tensor,
    cached: tuple[Tensor, ...],
    prepared: tuple[Tensor, ...],
    pending: Tensor,
    position: Tensor,
    index: Tensor,
    noise: Tensor,
    out: Tensor,
) -> None:
    """One step of a slot's sequences, in place; `seen` (n,) is 0..n-1 with n > position."""
    features = model.step(pending, position, seen, cached, prepared)
    values = model.observation.choose(model.params(features[:, None]), noise.index_select(0, index).transpose(0, 1))
    out.index_copy_(0, index, values.transpose(0, 1))
    pending.copy_(model.embedded(values)[:, 0])
    position.add_(1)
    index.add_(1)


def _buffers(slot: Slot) -> tuple[Any, ...]:
    return slot.cached, slot.prepared, slot.pending, slot.position, slot.index, slot.noise, slot.out


def _seen(model: Rival, slot: Slot, count: int) -> Tensor:
    seen = slot.steps[: max(2, count) if model.grows else 2]  # 2: a size of 1 would be compiled by itself
    if model.grows:
        torch._dynamo.mark_dynamic(seen, 0)
    return seen


def _compiled(model: Rival) -> Callable[..., None]:
    step = _COMPILED.get(model)
    if step is None:
        own = FunctionType(advance.__code__.replace(), advance.__globals__)  # recompilations are limited a function
        options: dict[str, Any] = {"cpp_wrapper": model.device.type == "cpu"}
        step = _COMPILED[model] = torch.compile(own, fullgraph=True, options=options)
    return step


_COMPILER: list[bool] = []


def _compiler_works() -> bool:
    """Whether `torch.compile` can make something here; tried once."""
    if not _COMPILER:
        try:
            torch.compile(lambda x: x + 1, options={"cpp_wrapper": True})(torch.zeros(2))
            _COMPILER.append(True)
        except Exception as error:  # of many kinds, and each means the same
            _LOG.warning("torch.compile does not work here, steps are run one operation at a time: %s", error)
            _COMPILER.append(False)
    return _COMPILER[0]


def _graph(model: Rival, slot: Slot, position: int) -> Any:
    """The captured step for a cache that holds `position` steps; CUDA."""
    size = min(slot.capacity, max(_LEAST_SEEN, 1 << position.bit_length())) if model.grows else _LEAST_SEEN
    if size not in slot.graphs:
        slot.graphs[size] = _capture(model, slot, slot.steps[:size])
    return slot.graphs[size]


def _capture(model: Rival, slot: Slot, seen: Tensor) -> torch.cuda.CUDAGraph:
    """Steps taken to compile are taken back: the buffers are as they were."""
    step, buffers = _compiled(model), _buffers(slot)
    touched = [*slot.cached, slot.pending, slot.position, slot.index, slot.out]
    before = [tensor.clone() for tensor in touched]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step(model, seen, *buffers)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(model, seen, *buffers)
    for tensor, old in zip(touched, before, strict=True):
        tensor.copy_(old)
    return graph
