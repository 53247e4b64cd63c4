"""The speed benchmark on tiny models: its report has all fields, and what it leaves out is said. No timings."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.config
from rich.console import Console

from benchmarks.speed import limits, memory, passes, report, sessions, targets
from benchmarks.speed.contenders import NAMES, contender
from benchmarks.speed.plot import plot
from benchmarks.speed.run import Plan, run
from benchmarks.speed.timing import Clock, Job, in_turns

CPU = torch.device("cpu")
TINY = {
    "length": 16,
    "size": 1,
    "observation": {"kind": "bernoulli"},
    "levels": [{"kind": "gaussian", "size": 4, "layers": 1}],
    "encoder": {"kind": "causal", "width": 32, "state": 16, "layers": 1},
    "decoder": {"width": 32, "state": 16},
}
PLAN = Plan(
    grid=passes.Grid((1, 3), (4, 16), required=((1, 16),), box=0.02),
    sessions=sessions.Sizes((1,), 80, (8, 16), early=10, late=1000, turns=3, box=0.02),
    shapes=((2, 8, 4),),
    limits=limits.TINY,
    box=0.02,
    memory_at=(),
)


@pytest.fixture(scope="module", autouse=True)
def _eager() -> Iterator[None]:
    """The rivals' steps as they are: compiling them takes longer than all of this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._dynamo.config, "disable", True)
        yield


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    models = [contender(name, TINY, CPU) for name in NAMES]
    return run(models, CPU, PLAN, lambda text: None)


def test_every_cell_says_how_it_was_found(made: dict[str, Any]) -> None:
    assert [(row["samples"], row["length"]) for row in made["passes"]] == [(1, 4), (1, 16), (3, 4), (3, 16)]
    for row in made["passes"]:
        for name in NAMES:
            figures = row[name]
            assert figures["how"].split(":")[0] in ("measured", "extrapolated", "skipped")
            assert ("of_matmul" in figures) == ("seconds" in figures) == (not figures["how"].startswith("skipped"))


def test_what_must_hold_is_measured(made: dict[str, Any]) -> None:
    row = made["passes"][1]
    assert all(row[name]["how"] == "measured" and row[name]["repeats"] >= 3 for name in NAMES)
    assert row["rival_over_vssm"] == row[row["faster_rival"]]["seconds"] / row["vssm"]["seconds"]
    assert row["faster_rival"] == min(targets.RIVALS, key=lambda name: row[name]["seconds"])


def test_sessions_and_kept_bytes(made: dict[str, Any]) -> None:
    assert [row["steps"] for row in made["prefixes"]] == [8, 16]
    assert {row["model"] for row in made["resumes"]} == set(NAMES)
    early, late = made["kept"]["rows"][1], made["kept"]["rows"][-1]  # 28 and 10^6 steps
    assert early["vssm"] == late["vssm"]
    assert early["mamba"] == late["mamba"]
    assert 1000 * early["transformer"] < late["transformer"]
    assert made["kept"]["shipped_over_transformer"] > 0


def test_it_can_be_printed_drawn_and_stored(made: dict[str, Any], tmp_path: Path) -> None:
    text = io.StringIO()
    report.show(made, Console(file=text, width=200))
    plot({**made, "passes": [{**row, "length": 784} for row in made["passes"]]}, tmp_path / "speed.png")
    assert "must hold" in text.getvalue()
    assert "whole pass, batch 64 x 784" in text.getvalue()
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert json.loads(json.dumps(made))["must_hold"][0]["figure"].startswith("recurrence")


def test_a_target_is_held_missed_or_not_measured(made: dict[str, Any]) -> None:
    def row(samples: int, length: int, rival: float) -> dict[str, Any]:
        cell = {"how": "measured", "seconds": 1.0, "of_matmul": 0.7}
        slow = {"how": "measured", "seconds": rival}
        return targets.compare({"samples": samples, "length": length, "vssm": cell, "transformer": slow, "mamba": slow})

    held = targets.must_hold({**made, "passes": [row(1, 784, 30.0), row(64, 784, 1.5)]})
    assert [entry["holds"] for entry in held[1:5]] == [True, True, None, False]


def test_only_some_sequences_and_lengths() -> None:
    assert PLAN.only(None, None) == PLAN
    grid = PLAN.only([7], [9, 8]).grid
    assert (grid.samples, grid.lengths, grid.required) == ((7,), (9, 8), PLAN.grid.required)


def test_dear_cells_are_extrapolated_and_huge_ones_skipped() -> None:
    models = [contender(name, TINY, CPU) for name in ("vssm", "transformer")]
    grid = passes.Grid((1,), (16, 64, 1 << 40), required=((1, 16),), box=1e-6)
    product = limits.product(Clock(CPU), limits.TINY)
    with torch.no_grad():
        first, second, third = passes.measure(Clock(CPU), models, grid, product)
    assert first["vssm"]["how"] == first["transformer"]["how"] == "measured"
    assert second["vssm"] == {"seconds": 4 * first["vssm"]["seconds"], "repeats": 0, "how": "extrapolated"}
    assert "take" in second["transformer"]["how"]
    assert "needs" in third["transformer"]["how"]


def test_jobs_take_turns_until_the_least_is_done() -> None:
    seen: list[str] = []

    def work(name: str) -> None:
        seen.append(name)
        time.sleep(0.002)

    def job(name: str) -> Job:
        return Job(work, lambda: name)

    times = in_turns(Clock(CPU), {"a": job("a"), "b": job("b")}, seconds=1e-9, least=3)
    assert "".join(seen) == "abababab"  # the first turn warms up and does not count
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


@pytest.mark.skipif(not memory.available(), reason="needs Linux with glibc")
def test_memory_of_a_call_grows_with_what_it_makes() -> None:
    model = contender("vssm", TINY, CPU)
    assert memory.growth(model, 1, 1 << 22) >= 1 << 22  # a byte a value


def test_limits_are_the_better_of_two() -> None:
    first, second = limits.Limits(2.0, 5.0), limits.Limits(3.0, 4.0)
    assert limits.higher(first, second) == limits.Limits(3.0, 5.0)
    assert limits.higher(second, replace(first)) == limits.Limits(3.0, 5.0)
