"""Passes: the same values for any cut and company, bounded, and one bad task does not hurt the others."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from vssm_server import counters
from vssm_server.engine import Engine
from vssm_server.errors import Problem
from vssm_server.messages import Array, Done, Request
from vssm_server.queue import Job
from vssm_server.task import Task

from tests.server.models import build
from vssm import VSSM, Advance, Window

Values = NDArray[np.generic]


def job(
    model: str,
    seed: int,
    rows: int,
    length: int,
    prefix: Values | None = None,
    particles: int = 1,
    passes: int | None = None,
    owner: str = "",
) -> Job:
    request = Request(
        id=f"gen_{seed}",
        reply_to="api",
        model=model,
        num_samples=rows,
        seed=seed,
        length=length,
        prefix=None if prefix is None else Array.pack(prefix),
        temperature=1.0,
        output="sample",
        stream=False,
        session_id=None,
        resume=False,
        ttl_ms=None,
        timeout_ms=1000,
        idempotency=None,
        num_particles=particles,
        owner=owner,
        max_passes=passes,
    )
    return Job(b"0-1", request, 1)


def task(
    model: VSSM,
    seed: int,
    rows: int,
    length: int,
    prefix: Values | None = None,
    particles: int = 1,
    passes: int | None = None,
) -> Task:
    return Task(job("m", seed, rows, length, prefix, particles, passes), model, model.start(rows, seed), None, 0.0)


def run(engine: Engine, tasks: Sequence[Task]) -> list[Values]:
    while not all(task.ended for task in tasks):
        for step in engine.run(tasks):
            assert isinstance(step.outcome, Advance), step.outcome
            step.task.take(step.steps, step.outcome)
    replies = [task.end().reply for task in tasks]
    return [reply.values.unpack() for reply in replies if isinstance(reply, Done) and reply.values is not None]


def test_a_million_steps_whole_equals_cut_and_batched() -> None:
    model = build("pixels")
    rng = np.random.default_rng(1)
    compared = 0
    while compared < 1_000_000:
        shapes = [(int(rng.integers(1, 9)), int(rng.integers(1, 9000))) for _ in range(6)]
        seeds = [int(seed) for seed in rng.integers(0, 2**62, len(shapes))]
        together = run(
            Engine(chunk_steps=int(rng.integers(50, 700)), pass_steps=int(rng.integers(1000, 20_000))),
            [task(model, seed, *shape) for seed, shape in zip(seeds, shapes, strict=True)],
        )
        for seed, (rows, length), values in zip(seeds, shapes, together, strict=True):
            whole = model.generate(num_samples=rows, length=length, seed=seed).values
            assert np.array_equal(values, whole)
            compared += values.size
    assert compared >= 1_000_000


class SlotNoise:
    """The negative control: noise that depends on the place in the batch."""

    def __init__(self, model: VSSM) -> None:
        self._model = model
        self.steps_a_pass = 1
        self.config, self.fingerprint = model.config, model.fingerprint

    def advance(self, windows: Sequence[Window]) -> list[Advance]:
        moved = [replace(w, state=replace(w.state, seed=w.state.seed + slot)) for slot, w in enumerate(windows)]
        done = self._model.advance(moved)
        return [replace(a, state=replace(a.state, seed=w.state.seed)) for a, w in zip(done, windows, strict=True)]


def test_noise_by_batch_slot_would_be_caught() -> None:
    model = build("pixels")
    slotted: VSSM = SlotNoise(model)  # type: ignore[assignment]
    tasks = [Task(job("m", seed, 2, 500), slotted, model.start(2, seed), None, 0.0) for seed in (10, 20)]
    alone = [model.generate(num_samples=2, length=500, seed=seed).values for seed in (10, 20)]
    first, second = run(Engine(256, 32_768), tasks)
    assert np.array_equal(first, alone[0])  # slot 0
    assert not np.array_equal(second, alone[1])


@pytest.mark.parametrize("kind", ["image", "text", "series", "scaled", "exact"])
def test_prefixes_in_company(kind: str) -> None:
    model = build(kind)
    prefix = model.generate(length=20, seed=99).values[0]
    tasks = [task(model, seed, 3, 17, prefix if seed % 2 else None) for seed in range(5)]
    for seed, values in enumerate(run(Engine(chunk_steps=7, pass_steps=60), tasks)):
        alone = model.generate(num_samples=3, length=17, seed=seed, prefix=prefix if seed % 2 else None)
        assert np.array_equal(values, alone.values)


@pytest.mark.parametrize(("chunk_steps", "pass_steps"), [(7, 60), (64, 1000), (3, 5)])
def test_exact_mode_in_company(chunk_steps: int, pass_steps: int) -> None:
    """Each has the values of its own passes, exact or bounded, and says how many it took."""
    model = build("exact")
    bounds = [None, 1, 2, 5, 100]
    tasks = [task(model, seed, 2, 50 + seed, passes=most) for seed, most in enumerate(bounds)]
    together = run(Engine(chunk_steps, pass_steps), tasks)
    for seed, (most, values) in enumerate(zip(bounds, together, strict=True)):
        alone = model.generate(num_samples=2, length=50 + seed, seed=seed, max_passes=most)
        assert np.array_equal(values, alone.values)
        reply = tasks[seed].end().reply
        assert isinstance(reply, Done)
        assert reply.passes is not None
        assert reply.passes.approximate == (most in (1, 2, 5))
        if reply.passes.approximate:
            assert reply.passes.max <= (most or 0)
        else:
            assert reply.passes.mean >= -(-(50 + seed) // 4)


def test_particles_in_company() -> None:
    model = build("image")
    prefix = model.generate(length=20, seed=99).values[0]
    tasks = [task(model, seed, 2, 9, prefix, 1 + seed) for seed in range(5)]
    assert [t.rows for t in tasks] == [2, 4, 6, 8, 10]
    together = run(Engine(chunk_steps=7, pass_steps=60), tasks)
    assert [t.rows for t in tasks] == [2] * 5
    for seed, values in enumerate(together):
        alone = model.generate(num_samples=2, length=9, seed=seed, prefix=prefix, num_particles=1 + seed)
        assert np.array_equal(values, alone.values)


def test_a_prefix_that_is_read_whole_is_not_cut() -> None:
    model = build("whole")
    prefix = model.generate(length=30, seed=99).values[0]
    tasks = [task(model, seed, 3, 17, prefix if seed % 2 else None, 2 if seed % 2 else 1) for seed in range(5)]
    engine = Engine(chunk_steps=7, pass_steps=60)
    assert [steps for task, steps in engine.plan(tasks) if task.observing] == []  # no room beside the first
    assert engine.plan(tasks[1:])[0] == (tasks[1], 30)
    for seed, values in enumerate(run(engine, tasks)):
        options = {"prefix": prefix, "num_particles": 2} if seed % 2 else {}
        assert np.array_equal(values, model.generate(num_samples=3, length=17, seed=seed, **options).values)


def test_a_pass_is_bounded_and_everybody_ends() -> None:
    model = build("pixels")
    engine = Engine(chunk_steps=64, pass_steps=100)
    plan = engine.plan([task(model, seed, 30, 50) for seed in range(4)])
    assert sum(task.rows * steps for task, steps in plan) <= 100
    assert engine.plan([task(model, 0, 500, 50)])[0][1] == 1  # more rows than the bound still advance


def test_a_task_that_raises_ends_alone() -> None:
    model = build("pixels")
    good, bad = task(model, 1, 1, 20), task(model, 2, 1, 20)
    bad.state = build("pixels", seed=5).start(1, 2)  # of another fingerprint
    outcomes = {step.task: step.outcome for step in Engine(256, 1000).run([good, bad])}
    assert isinstance(outcomes[good], Advance)
    problem = outcomes[bad]
    assert isinstance(problem, Problem)
    assert problem.body.type == "fingerprint_mismatch"


@pytest.mark.parametrize("kind", ["image", "text", "series"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["observation", "levels"])
def test_nan_is_an_error_whatever_the_values_are(kind: str, value: float, part: str) -> None:
    model = build(kind)
    good = task(model, 1, 1, 4)
    [step] = Engine(256, 1000).run([good])
    assert isinstance(step.outcome, Advance)  # the control
    model.requires_grad_(False)
    for parameter in getattr(model, part).parameters():
        parameter.fill_(value)
    [step] = Engine(256, 1000).run([task(model, 1, 1, 4)])
    assert isinstance(step.outcome, Problem)
    assert step.outcome.body.type == "non_finite_output"


def test_one_job_with_nan_does_not_hurt_its_company() -> None:
    model = build("series")
    good, bad = task(model, 1, 2, 20), task(model, 2, 2, 20)
    bad.state.tensors["level0"][1, 0] = float("nan")
    outcomes = {step.task: step.outcome for step in Engine(256, 1000).run([good, bad])}
    assert isinstance(outcomes[bad], Problem)
    advance = outcomes[good]
    assert isinstance(advance, Advance)
    assert np.array_equal(advance.values, model.generate(num_samples=2, length=20, seed=1).values)


def in_little_memory(margin_bytes: int, rows: int, steps: int, company: int) -> subprocess.CompletedProcess[str]:
    """Runs tests/server/little_memory.py, which limits its own memory for real."""
    command = [sys.executable, "-m", "tests.server.little_memory", str(margin_bytes), str(rows), str(steps)]
    return subprocess.run([*command, str(company)], capture_output=True, text=True, timeout=120)


def test_a_pass_that_does_not_fit_is_split_and_the_values_are_the_same() -> None:
    result = in_little_memory(190 * 2**20, rows=200_000, steps=4, company=4)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["limited_passes"] > 0
    assert report["equal"] == [True] * 4
    assert report["limit_afterwards"] < report["pass_steps"]


def test_passes_grow_again_when_memory_is_not_short_any_more() -> None:
    model = build("pixels")
    engine = Engine(chunk_steps=4, pass_steps=1000)
    engine.limit = 300
    run(engine, [task(model, 1, 1, 4 * 250)])
    assert engine.limit == 1000


def test_a_job_that_does_not_fit_at_all_is_refused_alone() -> None:
    result = in_little_memory(150 * 2**20, rows=4_000_000, steps=1, company=1)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["problems"] == ["too_large_for_worker"]


def test_a_suspect_runs_alone() -> None:
    model = build("pixels")
    tasks = [task(model, seed, 1, 5) for seed in range(3)]
    tasks[1].job = replace(tasks[1].job, deliveries=3)
    assert [step.task for step in Engine(256, 1000).run(tasks)] == [tasks[1]]


def test_rows_are_counted() -> None:
    model = build("pixels")
    engine = Engine(256, 1000)
    run(engine, [task(model, 1, 3, 5), task(model, 2, 2, 5)])
    model_name = task(model, 1, 1, 1).job.request.model
    assert engine.tally.of(counters.STEPS.of(model_name)) == 25
    expected = {f"vssm_batch_rows\t{model_name}\t3": 1, f"vssm_batch_rows\t{model_name}\tsum": 5_000_000}  # at most 8
    assert dict(counters.BATCH_ROWS.of(5, model_name)) == expected
    assert {total: engine.tally.of(total) for total in expected} == expected


def test_owners_share_a_pass_whoever_came_first() -> None:
    """A hundred tasks of one owner leave the other half of the pass; what nobody else wants is not wasted."""
    model = build("pixels")
    flood = [
        Task(job("m", seed, 8, 4000, owner="flood"), model, model.start(8, seed), None, 0.0) for seed in range(100)
    ]
    late = Task(job("m", 200, 4, 4000, owner="late"), model, model.start(4, 200), None, 0.0)
    engine = Engine(chunk_steps=64, pass_steps=4096)
    for _ in range(4):
        plan = engine.plan([*flood, late])
        shares = {
            owner: sum(t.rows * n for t, n in plan if t.job.request.owner == owner) for owner in ("flood", "late")
        }
        assert shares["late"] == 4 * 64
        assert 2048 <= shares["flood"] <= 4096 - shares["late"]
    assert sum(t.rows * steps for t, steps in engine.plan(flood)) == 4096


def test_a_task_that_is_larger_than_a_share_gets_its_turn() -> None:
    model = build("pixels")
    large = [
        Task(job("m", seed, 300, 100, owner=owner), model, model.start(300, seed), None, 0.0)
        for seed, owner in enumerate(["a", "b"])
    ]
    engine = Engine(chunk_steps=64, pass_steps=400)
    firsts = [engine.plan(large)[0][0].job.request.owner for _ in range(4)]
    assert firsts in (["a", "b", "a", "b"], ["b", "a", "b", "a"])
