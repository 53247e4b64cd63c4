"""Fewer and cheaper passes in exact mode: window sizes and growth, first guesses, couplings, tolerance, early exit.

    python -m benchmarks.settle --numbers etth1-exact --pixels cifar10-exact     into benchmarks/results/settle.json

All ways end with the sequential sample, value for value, which is checked. Seconds are of one turn on this machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.couplings import COUPLINGS, coupled
from benchmarks.machine import machine
from vssm import VSSM, data, load
from vssm.networks import Networks, ReferenceNetworks
from vssm.noise import Counters
from vssm.solve import Work

RESULTS = Path(__file__).parent / "results" / "settle.json"
Row = dict[str, Any]
Window = Callable[[int], int]  # of the number of the pass, from 0
Guess = Callable[[Work, Tensor, int], None]  # fills in what rows (A,) have not been given yet, within a window


class Run:
    """Sampling with a window and a guess of one's choice: the loop of `vssm.solve`, with its seams open."""

    def __init__(self, model: VSSM, samples: int, networks: Networks | None = None) -> None:
        self.model, self.networks, self.length = model, networks or model.networks, model.config.length
        zeros = torch.zeros(samples, dtype=torch.int64)
        self.counters, self.stop = Counters(zeros + 1, torch.arange(samples), zeros), zeros + self.length
        self.noise = model.observation.draw_noise(self.counters, self.length, torch.ones(samples))

    def work(self) -> Work:
        """Nothing done yet."""
        state = self.model.start(len(self.stop)).tensors
        return Work(self.model, self.networks, self.counters.position, self.noise, None, state)

    @torch.no_grad()
    def settle(self, window: Window, guess: Guess | None = None, leave: bool = True) -> Work:
        """All rows to their end; without `leave` those that are done are not left out but replaced by others."""
        work, count = self.work(), 0
        while len(rows := torch.nonzero(work.at < self.length)[:, 0]):
            if guess is not None:
                guess(work, rows, window(count))
            rows = rows if leave else rows[torch.arange(len(self.stop)) % len(rows)]
            work.advance(rows, self.stop[rows], window(count), False)
            count += 1
        return work

    @cached_property
    def exact(self) -> Tensor:
        """The values, from windows that need no guess."""
        return self.settle(fixed(self.model.steps_a_pass)).values.made

    def row(self, name: str, window: Window, guess: Guess | None = None, leave: bool = True) -> Row:
        """Passes, and seconds of one turn; raises AssertionError where a value is not the exact one."""
        began = time.perf_counter()
        work = self.settle(window, guess, leave)
        seconds, passes, samples = time.perf_counter() - began, work.passes.float(), len(self.stop)
        assert torch.equal(work.values.made, self.exact)
        mean, most = passes.mean().item(), int(passes.max())
        return {"way": name, "samples": samples, "passes": mean, "most": most, "ms": 1e3 * seconds / samples}


def fixed(steps: int) -> Window:
    """Always so many steps."""
    return lambda _: steps


def digits(samples: int) -> list[Row]:
    """Windows, first guesses and early exit."""
    model = load("mnist-exact")
    run, row, length = Run(model, samples), model.steps_a_pass, model.config.length
    _ = run.exact  # and everything is compiled
    rows = [run.row(f"windows of {steps}", fixed(steps)) for steps in (row, 2 * row, 4 * row, length)]
    rows.append(run.row("windows that double with every pass", lambda count: min(length, row << count)))
    for steps in (2 * row, 4 * row, length):
        for name, guess in {"mean digit": mean_digit(), "row above": row_above(row)}.items():
            rows.append(run.row(f"windows of {steps}, guessed from the {name}", fixed(steps), guess))
    rows.append(run.row(f"windows of {length}, no row leaves early", fixed(length), leave=False))
    return rows


def mean_digit() -> Guess:
    """At first, everywhere, whether a pixel is mostly ink."""
    mean = torch.from_numpy(data.load_images("mnist", "train").images.mean(0) > 127).flatten()

    def guess(work: Work, rows: Tensor, window: int) -> None:
        if int(work.passes.max()) == 0:
            steps = torch.arange(len(mean)).expand(len(work.at), -1)
            everywhere = torch.ones_like(steps, dtype=torch.bool)
            work.values.write(
                torch.arange(len(steps)), steps, everywhere, mean.to(torch.uint8).expand(steps.shape)[..., None]
            )

    return guess


def row_above(width: int) -> Guess:
    """What comes into the window is as the row above it."""
    ends: dict[int, Tensor] = {}

    def guess(work: Work, rows: Tensor, window: int) -> None:
        end = torch.zeros_like(work.at) if int(work.passes.max()) == 0 else ends[0]
        for begin in range(0, window, width):
            steps = work.at[rows, None] + begin + torch.arange(width)
            fresh = (steps >= end[rows, None]) & (steps < work.values.made.shape[1])
            above = work.values.reach + (steps - width).clamp(max=work.values.made.shape[1] - 1)
            work.values.write(rows, steps, fresh, work.values.x[rows[:, None], above])
        end[rows] = torch.maximum(end[rows], work.at[rows] + window)
        ends[0] = end

    return guess


def by_coupling(model: VSSM, samples: int, windows: tuple[int, ...]) -> list[Row]:
    """How noise makes values: passes only, from the torch modules."""
    rows = []
    for name in COUPLINGS[model.observation.describe()["kind"]]:
        with coupled(model, name):
            run = Run(model, samples, ReferenceNetworks(model))
            rows += [run.row(f"{name}, windows of {steps}", fixed(steps)) for steps in windows]
    return [row | {"ms": None} for row in rows]


@torch.no_grad()
def by_tolerance(model: VSSM, samples: int) -> list[Row]:
    """Passes over the whole of it until numbers stay that near to the exact ones; 0: until they are the same bits."""
    run = Run(model, samples)
    exact = run.settle(fixed(model.steps_a_pass)).values.made
    work, errors = run.work(), []
    while len(rows := torch.nonzero(work.at < run.length)[:, 0]):
        work.advance(rows, run.stop[rows], run.length, False)
        errors.append((work.values.made - exact).abs().amax((1, 2)))
    number = torch.arange(1, len(errors) + 1)[:, None]
    made = []
    for tolerance in (1e-1, 1e-3, 1e-5, 0.0):
        passes = 1 + (number * (torch.stack(errors) > tolerance)).amax(0)  # one after the last that was further off
        mean, most = passes.float().mean().item(), int(passes.max())
        made.append({"way": f"within {tolerance:g}", "samples": samples, "passes": mean, "most": most, "ms": None})
    return made


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--numbers", help="a model of numbers in exact mode: its tolerance is measured as well")
    parser.add_argument(
        "--pixels", help="a model of pixels in colour in exact mode: its couplings are measured as well"
    )
    options = parser.parse_args()
    found = {"mnist-exact": digits(options.samples), "mnist-exact, one digit": digits(1)}
    text = load("shakespeare-exact")
    found["shakespeare-exact"] = by_coupling(text, 16, (8, 16, 32, text.config.length))
    if options.numbers:
        found[options.numbers] = by_tolerance(load(options.numbers), options.samples)
    if options.pixels:
        pixels = load(options.pixels)
        found[options.pixels] = by_coupling(pixels, 4, (4 * pixels.steps_a_pass, pixels.config.length))
    RESULTS.write_text(json.dumps({"machine": machine(), "threads": torch.get_num_threads(), **found}, indent=1) + "\n")
    for name, rows in found.items():
        shown = Table("way", "passes, mean (max)", "ms a sample", title=f"{name}, {rows[0]['samples']} samples")
        for row in rows:
            each = "" if row["ms"] is None else f"{row['ms']:.2f}"
            shown.add_row(row["way"], f"{row['passes']:.1f} ({row['most']})", each)
        Console().print(shown)


if __name__ == "__main__":
    main()
