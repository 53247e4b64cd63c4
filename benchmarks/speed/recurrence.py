"""The recurrence on large shapes, beside a copy of the same bytes.

    generation   the kernel of generated steps, in place, all threads: u is read and written, once each
    gated        `linear_recurrence` with a gate a step, float32, into a new tensor: three numbers a state
    fixed        `linear_recurrence` with one gate a channel, complex64, into a new tensor

In place is compared with `copy_` into a tensor that exists, a new tensor with `clone`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.timing import Clock, Job, in_turns, median
from vssm.compiled import kernels
from vssm.compiled.networks import pack_block
from vssm.parallel import even_cuts, in_parts
from vssm.recurrence import linear_recurrence
from vssm.ssm import Block

SHAPES = ((64, 784, 80), (8, 16384, 80), (512, 784, 80))  # (B, T, N)


def measure(clock: Clock, shapes: tuple[tuple[int, int, int], ...], seconds: float) -> list[dict[str, Any]]:
    """One row a shape: each kernel's seconds and the fraction of its copy."""
    return [_row(clock, shape, seconds) for shape in shapes]


def _row(clock: Clock, shape: tuple[int, int, int], seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"shape": list(shape)}
    pairs = {"gated": _gated(shape, clock.device), "fixed": _fixed(shape, clock.device)}
    if clock.device.type == "cpu":  # on CUDA both have one kernel
        pairs = {"generation": _generation(shape)} | pairs
    for kind, (kernel, copy, numbers) in pairs.items():
        times = in_turns(clock, {"kernel": kernel, "copy": copy}, seconds, most=101)
        kernel_seconds, copy_seconds = median(times["kernel"]), median(times["copy"])
        row[kind] = {
            "seconds": kernel_seconds,
            "copy_seconds": copy_seconds,
            "of_copy": numbers * copy_seconds / kernel_seconds,
        }
    return row


Pair = tuple[Job, Job, float]  # kernel, copy, bytes of the kernel in copies


def _generation(shape: tuple[int, int, int]) -> Pair:
    """u (B * T, 2N) float32 in place: shared by threads as in a pass, whole sequences each."""
    batch, steps, channels = shape
    layer = pack_block(Block(2 * channels, channels).requires_grad_(False))
    u = np.zeros((batch * steps, len(layer[2])), np.float32)
    state, kept = np.zeros((batch, 1, 2 * channels), np.float32), np.full(batch, steps - 1)
    cuts = [steps * cut for cut in even_cuts(batch, torch.get_num_threads())]
    source = torch.from_numpy(u)
    target = torch.ones_like(source)
    return (
        Job(lambda _: in_parts(cuts, kernels.scan, u, steps, layer, 0, state, kept)),
        Job(lambda _: target.copy_(source)),
        1.0,
    )


def _gated(shape: tuple[int, int, int], device: torch.device) -> Pair:
    a = 0.5 + 0.499 * torch.rand(shape, device=device)
    b = torch.randn(shape, device=device)
    return _allocating(a, b, 1.5)


def _fixed(shape: tuple[int, int, int], device: torch.device) -> Pair:
    size = 0.5 + 0.499 * torch.rand(shape[2], device=device)
    a = torch.polar(size, torch.pi * torch.rand(shape[2], device=device))
    return _allocating(a, torch.randn(shape, dtype=torch.complex64, device=device), 1.0)


def _allocating(a: Tensor, b: Tensor, numbers: float) -> Pair:
    return Job(lambda _: linear_recurrence(a, b)), Job(lambda _: b.clone()), numbers
