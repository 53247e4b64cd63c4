"""Sampling from a decoder that reads earlier values: windows of steps, each from a few parallel passes of its stack.

    x_t = choose(params_t, noise_t),  params_t a function of z_{<=t} and x_{<t}

Given the noise this is one equation a step with one solution, the sequential sample. A pass takes a window of steps of
every row: the stack over all of them at once, from the values known or guessed so far; then the head through them in
order (`near`, see `vssm.past`). Whatever the stack read of a step that did not change was right, so a window's values are
right up to `near` steps beyond the first that changed: they are verified, the rest is the next guess.

    |---- verified ----|-------- window --------|
                       ^ at least near + 1 more are verified by every pass, in order

A window of near + 1 steps reads known values only and needs one pass; a longer one saves passes where guesses
come true, at the price of steps computed again. Values, parameters and states are the same bits for any window. Knows
nothing of requests or sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vssm.model import VSSM
    from vssm.networks import Networks


@dataclass(frozen=True)
class Solved:
    """values (R, T, size), params (R, T, *params_shape) and the state behind them; `passes` (R,) int64 of each row."""

    values: Tensor
    params: Tensor
    state: dict[str, Tensor]
    passes: Tensor


class Values:
    """The values of some rows with those before them, and their features: what passes read and write.

    x  (R, reach + T, size)    e  (R, reach + T, F), zeros before the first step of a sequence
    """

    def __init__(self, model: VSSM, recent: Tensor, position: Tensor, steps: int) -> None:
        assert model.past is not None
        self._observation, self.reach, self._far = model.observation, model.past.config.reach, model.past.config.far
        rows, device = len(recent), recent.device
        self.x = torch.zeros(
            rows, self.reach + steps, self._observation.size, dtype=self._observation.dtype, device=device
        )
        self.x[:, : self.reach] = recent.to(self.x.dtype)
        self.e = self._observation.embed(self.x).to(model.weight.dtype)
        before = torch.arange(self.reach, device=device) - self.reach + position[:, None] < 0  # (R, reach)
        self.e[:, : self.reach].masked_fill_(before[..., None], 0.0)
        self._distances = torch.tensor(self._far, device=device)

    def far(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Features (A, W, len(far) * F) at the distances that the stack reads, before `steps` (A, W) of `rows` (A,)."""
        at = self.reach + steps[..., None] - self._distances  # (A, W, far)
        return self.e[rows[:, None, None], at].flatten(2)

    def near(self, rows: Tensor, first: Tensor, count: int, steps: int) -> Tensor:
        """Features (A, count + steps, F) of the `count` steps before `first` (A,), and room for those from it on."""
        at = torch.arange(count + steps, device=first.device) + (first + self.reach - count)[:, None]
        return self.e[rows[:, None], at.clamp(max=self.e.shape[1] - 1)]

    def changed(self, rows: Tensor, steps: Tensor, values: Tensor) -> Tensor:
        """Which of `values` (A, W, size) differ from those that are there, (A, W)."""
        return (self.x[rows[:, None], self.reach + steps] != values).any(-1)

    def write(self, rows: Tensor, steps: Tensor, within: Tensor, values: Tensor) -> None:
        """Takes `values` (A, W, size) of `steps` (A, W) where they are `within`."""
        row, at = rows[:, None].expand_as(steps)[within], self.reach + steps[within]
        self.x[row, at] = values[within]
        self.e[row, at] = self._observation.embed(values[within][:, None])[:, 0].to(self.e.dtype)

    def recent(self, count: Tensor) -> Tensor:
        """The last values before step `count` (R,) of each row, float32 (R, reach, size)."""
        at = count[:, None] + torch.arange(self.reach, device=count.device)
        return self.x[torch.arange(len(self.x), device=count.device)[:, None], at].float()


def solve(
    model: VSSM,
    networks: Networks,
    position: Tensor,
    noise: Tensor,
    d: Tensor | None,
    state: dict[str, Tensor],
    last: Tensor,
    window: int | None = None,
    stride: int = 1,
) -> Solved:
    """T steps of every row from `noise` (R, T, ...) and the features d (R, T, D) of latents, up to step `last` (R,).

    `position` (R,) is that of the first step, `state` holds "past" and "recent". `window` steps go into a pass, by
    default as many as are cheapest. With a `stride` above near + 1 that many steps are taken from every pass, right or
    not: an approximation, and fewer passes.
    """
    assert model.past is not None
    rows, steps = noise.shape[:2]
    near, device = model.past.config.near, noise.device
    trusted = max(near, stride - 1)
    window = max(window or best_window(near), trusted + 1)
    values = Values(model, state["recent"], position, steps)
    params = torch.zeros(rows, steps, *model.observation.params_shape, dtype=model.weight.dtype, device=device)
    stack, end = state["past"].clone(), last + 1
    at, verified, passes = (torch.zeros(rows, dtype=torch.int64, device=device) for _ in range(3))
    while len(active := torch.nonzero(at < end)[:, 0]):
        first, known, stop = at[active], verified[active], end[active]
        width = min(window, int((stop - first).max()))
        offset = torch.arange(width, device=device)
        wanted = first[:, None] + offset  # (A, W)
        within, taken = wanted < stop[:, None], wanted.clamp(max=steps - 1)
        committed = torch.minimum(known + trusted, stop - 1).clamp(max=first + width - 1) - first
        b, stack[active] = networks.far(
            values.far(active, taken), _added(model, position[active], taken, d, active), stack[active], committed
        )
        made, theirs = networks.sweep(b, values.near(active, first, near, width), noise[active[:, None], taken])
        wrong = values.changed(active, taken, made) & within & (wanted >= known[:, None])
        right = torch.where(wrong.any(1), wrong.int().argmax(1) + trusted + 1, width)
        values.write(active, taken, within, made)
        params[active[:, None].expand_as(taken)[within], taken[within]] = theirs[within]
        verified[active] = torch.minimum(torch.maximum(known, first + right.clamp(max=width)), stop)
        at[active] = first + committed + 1
        passes[active] += 1
    return Solved(values.x[:, values.reach :], params, {"past": stack, "recent": values.recent(end)}, passes)


def observe(
    model: VSSM,
    networks: Networks,
    position: Tensor,
    x: Tensor,
    d: Tensor | None,
    state: dict[str, Tensor],
    last: Tensor,
) -> dict[str, Tensor]:
    """The state after observed values x (R, T, size) up to step `last` (R,): one pass of the stack."""
    rows = torch.arange(len(x), device=x.device)
    steps = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    values = Values(model, state["recent"], position, x.shape[1])
    values.write(rows, steps, torch.ones_like(steps, dtype=torch.bool), x)
    _, stack = networks.far(values.far(rows, steps), _added(model, position, steps, d, rows), state["past"], last)
    return {"past": stack, "recent": values.recent(last + 1)}


def best_window(near: int) -> int:
    """Steps of a pass."""
    return near + 1 if near else 64


def _added(model: VSSM, position: Tensor, steps: Tensor, d: Tensor | None, rows: Tensor) -> Tensor | None:
    """What the stack reads besides values (A, W, D): the features of latents and the embedding of positions."""
    assert model.past is not None
    place = model.past.place(position[:, None] + steps)
    mine = None if d is None else d[rows[:, None], steps]
    return place if mine is None else mine if place is None else mine + place
