"""Everything in one run: the parts of the benchmark one after another, into one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.speed import limits, memory, passes, recurrence, sessions
from benchmarks.speed.contenders import Contender
from benchmarks.speed.limits import Limits
from benchmarks.speed.targets import compare, must_hold
from benchmarks.speed.timing import Clock

KEPT_AT = (784, 28, 3072, 16384, 1_000_000)  # the first is what must hold speaks of


@dataclass(frozen=True)
class Plan:
    """How much is measured; `memory_at` says which cells get a process of their own on a CPU."""

    grid: passes.Grid = field(default_factory=passes.Grid)
    sessions: sessions.Sizes = field(default_factory=sessions.Sizes)
    shapes: tuple[tuple[int, int, int], ...] = recurrence.SHAPES
    limits: limits.Sizes = limits.CPU
    box: float = 2.0
    memory_at: tuple[tuple[int, int], ...] = ((64, 784),)

    @classmethod
    def within(cls, minutes: float, device: torch.device) -> Plan:
        """The whole plan in about so many minutes; the cells that must hold are measured however long they take."""
        box = 0.4 * minutes  # of ten minutes: 4 s for a model in a cell
        grid = replace(passes.Grid(), box=box)
        if device.type == "cuda":
            grid = replace(grid, samples=(*grid.samples, 4096), required=(*grid.required, (512, 784)))
        sizes = limits.CUDA if device.type == "cuda" else limits.CPU
        return cls(grid, replace(sessions.Sizes(), box=box), limits=sizes, box=min(3.0, box / 2))

    def only(self, samples: Sequence[int] | None, lengths: Sequence[int] | None) -> Plan:
        """With these whole sequences instead of the plan's."""
        samples, lengths = samples or self.grid.samples, lengths or self.grid.lengths
        return replace(self, grid=replace(self.grid, samples=tuple(samples), lengths=tuple(lengths)))


def run(contenders: list[Contender], device: torch.device, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """The report. Limits are measured before and after, and the better ones count."""
    clock = Clock(device)
    report: dict[str, Any] = {"machine": machine(), "device": _name(device), "models": _described(contenders)}
    say("limits of the machine")
    first = limits.measure(clock, plan.limits, plan.box)
    say("the recurrence")
    report["recurrence"] = recurrence.measure(clock, plan.shapes, plan.box)
    say("first chunks")
    report["first_chunks"] = sessions.first_chunks(clock, contenders, plan.sessions)
    say("prefixes")
    report["prefixes"] = sessions.prefixes(clock, contenders, plan.sessions)
    say(f"resumes, after {plan.sessions.late:,} generated steps")
    report["resumes"] = sessions.resumes(clock, contenders, plan.sessions)
    report["kept"] = sessions.kept_bytes(contenders, KEPT_AT)
    say("whole sequences")
    rows = []
    for row in passes.measure(clock, contenders, plan.grid, limits.product(clock, plan.limits)):
        rows.append(row)
        say(f"{row['samples']} x {row['length']}: " + ", ".join(f"{m.name} {row[m.name]['how']}" for m in contenders))
    best = limits.higher(first, limits.measure(clock, plan.limits, plan.box))
    report["limits"] = best.as_dict()
    if device.type == "cpu" and memory.available():
        say("peak memory, each in a process of its own")
        _add_memory(rows, contenders, plan)
    report["passes"] = [compare(_with_fractions(row, contenders, best)) for row in rows]
    report["must_hold"] = must_hold(report)
    return report


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _described(contenders: list[Contender]) -> dict[str, Any]:
    return {m.name: {"parameters": m.parameters, "config": m.config.model_dump(mode="json")} for m in contenders}


def _with_fractions(row: dict[str, Any], contenders: list[Contender], best: Limits) -> dict[str, Any]:
    """A row with its own product beside it is compared with that."""
    here = replace(best, flops_per_second=row.get("product_flops_per_second", best.flops_per_second))
    for model in contenders:
        figures = row[model.name]
        if "seconds" in figures:
            work = model.cost(row["samples"], row["length"])
            figures |= {"flops": work.flops, "bytes": work.bytes} | here.fractions(work, figures["seconds"])
    return row


def _add_memory(rows: list[dict[str, Any]], contenders: list[Contender], plan: Plan) -> None:
    for row in rows:
        if (row["samples"], row["length"]) in plan.memory_at:
            for model in contenders:
                peak = memory.in_fresh_process(model.name, row["samples"], row["length"], timeout=45)
                row[model.name] |= {} if peak is None else {"peak_bytes": peak}
