"""Measure ways to run the recurrence h_t = a_t * h_{t-1} + b_t on a CPU.

    compiled   vssm's kernel: sequential in time, SIMD over channels, threads over rows
    loop       one torch operation a step: the reference, but with unbind, because the gradient of an index
               t is as large as the whole sequence, which makes T of them quadratic
    toeplitz   chunks of 64 steps, each a product with a lower triangular Toeplitz matrix, then a carry from
               chunk to chunk; time-invariant gates only
    doubling   log2(T) passes over the whole sequence (Hillis and Steele, Data Parallel Algorithms, 1986)
    copy       clones b: the least that anything which reads b and writes h can take

The variants take turns, so that a disturbance meets all of them; medians. Errors are the largest deviation from the
reference in double precision on the same numbers, relative to the largest value. Knows nothing of models.

    python -m benchmarks.recurrence --threads 1 --seconds 4
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.machine import machine
from vssm.recurrence import linear_recurrence, linear_recurrence_reference

CHUNK = 64  # steps
SHAPES = ((1, 784, 64), (64, 28, 64), (64, 784, 64), (8, 16384, 64))  # (batch, steps, channels)
MIN_REPEATS = 7
RESULTS = Path(__file__).parent / "results" / "recurrence.json"
Scan = Callable[[Tensor, Tensor], Tensor]


def compiled(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of the library."""
    return linear_recurrence(a, b)[0]


def loop(a: Tensor, b: Tensor) -> Tensor:
    """The reference of the library, with a gradient linear in time."""
    h, states = torch.zeros_like(b[:, 0]), []
    gates = itertools.repeat(a) if a.dim() == 1 else iter(a.unbind(1))
    for gate, x in zip(gates, b.unbind(1), strict=False):
        h = gate * h + x
        states.append(h)
    return torch.stack(states, dim=1)


def toeplitz(a: Tensor, b: Tensor) -> Tensor:
    """Chunks as matrix products; a (N,), b (B, T, N)."""
    batch, steps, channels = b.shape
    size = min(CHUNK, steps)
    count = -(-steps // size)
    padded = torch.nn.functional.pad(b, (0, 0, 0, count * size - steps))
    powers = a[:, None] ** torch.arange(size + 1)  # (N, L + 1)
    columns = padded.view(batch, count, size, channels).permute(3, 2, 0, 1)  # (N, L, B, C)
    local = torch.bmm(_triangle(powers, size), columns.reshape(channels, size, -1))  # (N, L, B * C)
    local = local.view(channels, size, batch, count)
    h = local + powers[:, 1:, None, None] * _before(powers[:, -1, None], local[:, -1])[:, None]
    return h.permute(2, 3, 1, 0).reshape(batch, count * size, channels)[:, :steps]


def _triangle(powers: Tensor, size: int) -> Tensor:
    """(N, L, L) with a^(i - j) at row i, column j <= i."""
    lag = torch.arange(size)[:, None] - torch.arange(size)
    return powers[:, lag.clamp(min=0)] * (lag >= 0)


def _before(gate: Tensor, last: Tensor) -> Tensor:
    """States before each chunk (N, B, C), from the last of each by itself and the gate of a chunk (N, 1)."""
    state, states = torch.zeros_like(last[..., 0]), []
    for end in last.unbind(-1):
        states.append(state)
        state = gate * state + end
    return torch.stack(states, dim=-1)


def doubling(a: Tensor, b: Tensor) -> Tensor:
    """After the pass with step d, h_t holds the last 2d inputs and a_t the product of the last 2d gates."""
    h, d = b, 1
    while d < b.shape[1]:
        gate = a if a.dim() == 1 else a[:, d:]
        h = torch.cat([h[:, :d], h[:, d:] + gate * h[:, :-d]], dim=1)
        a = a * a if a.dim() == 1 else torch.cat([a[:, :d], gate * a[:, :-d]], dim=1)
        d *= 2
    return h


def copy(a: Tensor, b: Tensor) -> Tensor:
    """Not a recurrence: as many bytes as b read and as many written."""
    return b.clone()


@dataclass(frozen=True)
class Case:
    """One problem: gates of magnitude 0.5 to 0.999, per channel or per step."""

    gated: bool
    dtype: torch.dtype
    batch: int
    steps: int
    channels: int

    def __str__(self) -> str:
        gates = "gated" if self.gated else "fixed"
        return f"{gates} {str(self.dtype)[6:]} ({self.batch}, {self.steps}, {self.channels})"

    def scans(self) -> dict[str, Scan]:
        """What can run it."""
        fixed: dict[str, Scan] = {} if self.gated else {"toeplitz": toeplitz}
        return {"compiled": compiled, "loop": loop, **fixed, "doubling": doubling, "copy": copy}

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """a, b and a gradient of h."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch, self.steps, self.channels)
        gates = shape if self.gated else shape[2:]
        size = 0.5 + 0.499 * torch.rand(gates, generator=generator)
        phase = torch.pi * torch.rand(gates, generator=generator)
        a = torch.polar(size, phase) if self.dtype.is_complex else size
        b, grad = (torch.randn(shape, dtype=self.dtype, generator=generator) for _ in range(2))
        return a, b, grad


@dataclass(frozen=True)
class Row:
    """One measurement."""

    case: str
    direction: str
    variant: str
    median_ms: float
    fastest_ms: float
    repeats: int
    times_compiled: float
    relative_error: float | None


def run_forward(scan: Scan, a: Tensor, b: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """(h,)"""
    with torch.no_grad():
        return (scan(a, b),)


def run_both(scan: Scan, a: Tensor, b: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """h and the gradients of a and b."""
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    h = scan(a, b)
    return h.detach(), *torch.autograd.grad(h, (a, b), grad)


DIRECTIONS = {"forward": run_forward, "forward + backward": run_both}


def measure(case: Case, direction: str, seconds: float) -> Iterator[Row]:
    """All variants on one case, in turns, for about `seconds`."""
    run, inputs = DIRECTIONS[direction], case.draw()
    scans = case.scans() if direction == "forward" else {k: v for k, v in case.scans().items() if k != "copy"}
    double = torch.complex128 if case.dtype.is_complex else torch.float64
    a, b, grad = (x.to(double) for x in inputs)
    exact = run(loop, a, b, grad)
    assert torch.equal(exact[0], linear_recurrence_reference(a, b)[0])
    errors = {name: error(run(scan, *inputs), exact) for name, scan in scans.items() if name != "copy"}
    times = in_turns({name: partial(run, scan, *inputs) for name, scan in scans.items()}, seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        ratio = median / medians["compiled"]
        yield Row(
            str(case), direction, name, 1e3 * median, 1e3 * min(times[name]), len(times[name]), ratio, errors.get(name)
        )


def error(results: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> float:
    """Largest relative error of any of the results. Raises AssertionError when a variant computes something else."""
    worst = max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(results, exact, strict=True))
    assert worst < 1e-4, worst
    return worst


def in_turns(jobs: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each run of each job."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    end = time.perf_counter() + seconds
    for turn in itertools.count():
        if turn >= MIN_REPEATS and time.perf_counter() > end:
            return times
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - began)
    raise AssertionError


def show(rows: list[Row], console: Console) -> None:
    """One line a case and direction: milliseconds, times the compiled kernel, and the largest error of all variants."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    table = Table("case", "direction", title="linear recurrence: median ms (times compiled)")
    for name in (*variants, "largest error"):
        table.add_column(name, justify="right", no_wrap=True)
    for (case, direction), group in itertools.groupby(rows, lambda row: (row.case, row.direction)):
        measured = {row.variant: row for row in group}
        cells = [cell(measured.get(name)) for name in variants]
        worst = max(row.relative_error or 0.0 for row in measured.values())
        table.add_row(case, direction, *cells, f"{worst:.1e}")
    console.print(table)


def cell(row: Row | None) -> str:
    """A measurement, if there is one."""
    return "" if row is None else f"{row.median_ms:.2f} ({row.times_compiled:.1f})"


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch, its matrix products and the kernel")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each case and direction")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    described = machine()
    kinds = ((False, torch.complex64), (True, torch.float32))
    cases = [Case(gated, dtype, *shape) for gated, dtype in kinds for shape in SHAPES]
    rows = [row for case in cases for direction in DIRECTIONS for row in measure(case, direction, options.seconds)]
    show(rows, Console(width=150))
    date = datetime.now(UTC).date().isoformat()
    content = {"date": date, "machine": described, "chunk": CHUNK, "rows": [asdict(row) for row in rows]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
