"""Whole sequences: every number of samples by every length, all models in turns within a time box.

A required row also times the machine's matrix product in the same turns, so that a disturbance meets both.

A cell (samples, length, model) is `measured`; or `extrapolated`, when running it would take longer than its box: from
the longest length measured with as many samples, and for a model whose steps grow dearer from steps run behind caches
at later positions; or `skipped`, with what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.speed.contenders import Contender
from benchmarks.speed.limits import Product
from benchmarks.speed.timing import Clock, Job, in_turns, median

SEGMENT = 32  # steps, run to learn what a step costs at a position
_GROWTH = 1.5  # a step may cost this much more at the end of a length than so far: predictions only
_GIB = float(1 << 30)


@dataclass(frozen=True)
class Grid:
    """What is run; the `required` cells are measured whatever they take."""

    samples: tuple[int, ...] = (1, 8, 64, 512)
    lengths: tuple[int, ...] = (28, 784, 3072, 16384)
    required: tuple[tuple[int, int], ...] = ((1, 784), (1, 3072), (64, 784))
    box: float = 8.0  # seconds of one model in one cell, all repeats together


@dataclass
class Known:
    """Of one model with one number of samples: seconds of the longest length measured."""

    length: int
    seconds: float


@dataclass
class Cell:
    """One row in the making: what is run in turns, and what stands already."""

    samples: int
    length: int
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)


def measure(clock: Clock, contenders: list[Contender], grid: Grid, product: Product) -> Iterator[dict[str, Any]]:
    """Rows, one a cell: samples, length, and each model's figures."""
    for samples in grid.samples:
        known: dict[str, Known] = {}
        for length in sorted(grid.lengths):
            yield _row(clock, contenders, grid, product, samples, length, known)


def _row(
    clock: Clock,
    contenders: list[Contender],
    grid: Grid,
    product: Product,
    samples: int,
    length: int,
    known: dict[str, Known],
) -> dict[str, Any]:
    cell, required = Cell(samples, length), (samples, length) in grid.required
    for model in contenders:
        shortage = lacks_memory(model, samples, length, clock.device)
        predicted = _predicted(model, length, known)
        if shortage:
            cell.figures[model.name] = {"how": f"skipped: {shortage}"}
        elif predicted > grid.box and not required:
            cell.figures[model.name] = extrapolated(clock, model, samples, length, known[model.name], grid.box)
        else:
            model.warm_up(samples, length)
            cell.jobs[model.name] = Job(lambda _, m=model: m.generate(samples, length))  # type: ignore[misc]
    seconds = grid.box * max(1, len(cell.jobs))
    memory = _peak_memory(clock, cell.jobs)
    jobs = cell.jobs | ({"product": product.job} if required else {})
    taken = in_turns(clock, jobs, seconds, least=3 if required else 2)
    beside = {"product_flops_per_second": product.flops / median(taken.pop("product"))} if required else {}
    for name, times in taken.items():
        known[name] = Known(length, median(times))
        cell.figures[name] = {"seconds": median(times), "repeats": len(times), "how": "measured"}
        cell.figures[name] |= {"peak_bytes": memory[name]} if name in memory else {}
    return {"samples": samples, "length": length} | beside | {m.name: cell.figures[m.name] for m in contenders}


def _predicted(model: Contender, length: int, known: dict[str, Known]) -> float:
    """Seconds of one run; 0 where nothing is known yet."""
    if model.name not in known:
        return 0.0
    have = known[model.name]
    return have.seconds * length / have.length * (_GROWTH if model.grows else 1.0)


def lacks_memory(model: Contender, samples: int, length: int, device: torch.device) -> str:
    """What a growing cache needs and the machine has not, or nothing."""
    if not model.grows:
        return ""
    room = 1 << (length - 1).bit_length()  # caches are made for a power of two of steps
    need = samples * model.kept_bytes(room)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return f"its cache needs {need / _GIB:.1f} GiB" if need > 0.7 * free else ""


def extrapolated(clock: Clock, model: Contender, samples: int, length: int, have: Known, box: float) -> dict[str, Any]:
    """Seconds of a length from a shorter one: more of the same steps, or of steps measured further on."""
    if not model.grows:
        return {"seconds": have.seconds * length / have.length, "repeats": 0, "how": "extrapolated"}
    seconds, at = have.seconds, have.length
    while at < length:
        end = min(length, 1 << at.bit_length())  # up to the next power of two, where a cache gets larger
        step = step_seconds(clock, model, samples, (at + end) // 2)
        seconds, at = seconds + step * (end - at), end
        if step * SEGMENT > box:
            return {"how": f"skipped: {SEGMENT} steps at position {at} take {step * SEGMENT:.1f} s"}
    return {"seconds": seconds, "repeats": 0, "how": "extrapolated"}


def step_seconds(clock: Clock, model: Contender, samples: int, position: int) -> float:
    """Of one step behind `position` observed ones; the median of three short runs, which move on."""
    kept = model.condition(np.zeros((position, model.config.size), np.uint8), samples)
    model.resume(kept, SEGMENT)
    return median([clock.seconds(Job(lambda _: model.resume(kept, SEGMENT))) for _ in range(3)]) / SEGMENT


def _peak_memory(clock: Clock, jobs: dict[str, Job]) -> dict[str, int]:
    """Bytes that one call needs beside what was there; CUDA only, the CPU's are measured in `memory`."""
    if clock.device.type != "cuda":
        return {}
    peaks = {}
    for name, job in jobs.items():
        before = torch.cuda.memory_allocated(clock.device)
        torch.cuda.reset_peak_memory_stats(clock.device)
        clock.seconds(job)
        peaks[name] = torch.cuda.max_memory_allocated(clock.device) - before
    return peaks
