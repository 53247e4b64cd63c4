"""What a session costs: its first chunk, its prefix, going on after many steps, the bytes that are kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import vssm
from benchmarks.speed.contenders import Contender
from benchmarks.speed.passes import lacks_memory
from benchmarks.speed.timing import Clock, Job, Times, in_turns, median

CHUNK = 64  # steps


@dataclass(frozen=True)
class Sizes:
    """What is run; `early` and `late` are where sessions go on, `box` the most seconds of a run."""

    samples: tuple[int, ...] = (1, 64)
    length: int = 784
    prefixes: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    early: int = 1_000
    late: int = 1_000_000
    turns: int = 41
    box: float = 8.0


def _figures(times: Times) -> dict[str, Any]:
    return {name: {"seconds": median(values), "repeats": len(values)} for name, values in times.items()}


def first_chunks(clock: Clock, contenders: list[Contender], sizes: Sizes) -> list[dict[str, Any]]:
    """Until the first 64 steps are there, for streaming."""
    rows = []
    for samples in sizes.samples:
        for model in contenders:
            model.warm_up(samples, CHUNK)
        jobs = {m.name: Job(partial(_first_chunk, m, samples, sizes.length)) for m in contenders}
        rows.append({"samples": samples, "steps": CHUNK, **_figures(in_turns(clock, jobs, sizes.box))})
    return rows


def _first_chunk(model: Contender, samples: int, length: int, _: object) -> None:
    model.first_chunk(samples, CHUNK, length)


def prefixes(clock: Clock, contenders: list[Contender], sizes: Sizes) -> list[dict[str, Any]]:
    """Conditioning one sequence on observed steps; what would take longer than the box is skipped."""
    rows, last = [], dict.fromkeys((m.name for m in contenders), 0.0)
    for steps in sizes.prefixes:
        observed = np.zeros((steps, contenders[0].config.size), np.uint8)
        row: dict[str, Any] = {"steps": steps}
        jobs = {}
        for model in contenders:
            predicted = last[model.name] * (100 if model.grows else 10)  # attention looks at all pairs
            shortage = lacks_memory(model, 1, steps, clock.device)
            if shortage or predicted > 2 * sizes.box:
                row[model.name] = {"how": f"skipped: {shortage or f'about {predicted:.0f} s'}"}
            else:
                jobs[model.name] = Job(lambda _, m=model, x=observed: m.condition(x))  # type: ignore[misc]
        figures = _figures(in_turns(clock, jobs, sizes.box, most=15))
        last |= {name: v["seconds"] for name, v in figures.items()}
        rows.append(row | figures)
    return rows


def resumes(clock: Clock, contenders: list[Contender], sizes: Sizes) -> list[dict[str, Any]]:
    """64 more steps early and late; the late place is reached by generating, or where that takes too long not at all.

    A rival goes on after a hundredth of `late`, which a prefix reaches: a Mamba's steps know no position, and what a
    Transformer's cache of `late` steps needs stands beside it.
    """
    rows = []
    for model in contenders:
        model.warm_up(1, CHUNK)
        late = sizes.late if model.name == "vssm" else sizes.late // 100
        places = {sizes.early: _reach(model, sizes.early), late: _reach(model, late)}
        jobs = {
            str(at): Job(lambda kept, m=model: m.resume(kept, CHUNK), lambda m=model, k=kept: m.own(k))  # type: ignore[misc]
            for at, kept in places.items()
        }
        for job in jobs.values():
            clock.seconds(job)
        times = in_turns(clock, jobs, sizes.box, most=sizes.turns)
        row: dict[str, Any] = {"model": model.name, "steps": CHUNK, "repeats": len(times[str(late)])}
        row |= {"early": sizes.early, "early_seconds": median(times[str(sizes.early)])}
        row |= {"late": late, "late_seconds": median(times[str(late)])}
        row["late_over_early"] = row["late_seconds"] / row["early_seconds"]
        row |= {"kept_bytes_at": sizes.late, "kept_bytes": model.kept_bytes(sizes.late)}
        rows.append(row)
    return rows


def _reach(model: Contender, steps: int) -> Any:
    """What is kept after so many steps: generated ones by a VSSM, observed ones by its rivals."""
    if model.name == "vssm":
        return model.generate(1, steps)
    return model.condition(np.zeros((steps, model.config.size), np.uint8))


def kept_bytes(contenders: list[Contender], positions: tuple[int, ...]) -> dict[str, Any]:
    """Of one sequence: at positions, and of the shipped model beside the Transformer's cache at the first of them."""
    rows = [{"position": at} | {m.name: m.kept_bytes(at) for m in contenders} for at in positions]
    shipped = int(vssm.load("mnist").info()["state_bytes"])
    result: dict[str, Any] = {"rows": rows, "shipped_mnist": shipped}
    cache = rows[0].get("transformer")
    if cache:
        result["shipped_over_transformer"] = shipped / cache
        result["vssm_over_transformer"] = rows[0]["vssm"] / cache
    return result
