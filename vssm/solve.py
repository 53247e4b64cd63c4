"""Sampling from a decoder that reads earlier values: windows of steps, each from a few parallel passes of its stack.

    x_t = choose(params_t, noise_t),  params_t a function of z_{<=t} and x_{<t}

Given the noise this is one equation a step with one solution, the sequential sample. A pass takes a window of steps of
every row: the stack over all of them at once, from the values known or guessed so far; then the head through them in
order (`near`, see `vssm.past`). Whatever the stack read of a step that did not change was right, so a window's values
are right up to `near` steps beyond the first that changed: they are verified, the rest is the next guess.

    |---- verified ----|-------- window --------|
                       ^ at least near + 1 more are verified by every pass, in order

A window of near + 1 steps reads known values only and needs one pass; a longer one saves passes where guesses
come true, at the price of steps computed again. Values, parameters and states are the same bits for any window.

A `Budget` stops earlier: segment by segment, what is guessed after so many passes is taken as it is. Knows nothing of
requests or sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vssm.model import VSSM
    from vssm.networks import Networks


class Budget(NamedTuple):
    """An approximation: the steps are cut into segments of this length, and each takes at most so many passes."""

    segment: int
    passes: int

    @classmethod
    def of(cls, max_passes: int, length: int, near: int) -> Budget | None:
        """That of `length` steps in at most `max_passes` passes; None where they are enough for the exact values.

        Segments get two passes where there are two or more: the second reads the guesses of the first.
        """
        if max_passes < 1:
            raise ValueError(f"max_passes must be at least 1, not {max_passes}")
        if max_passes * (near + 1) >= length:
            return None
        each = min(2, max_passes)
        return cls(-(-length // (max_passes // each)), each)


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
        self._observation, self.reach = model.observation, model.past.config.reach
        rows, device = len(recent), recent.device
        self.x = torch.zeros(
            rows, self.reach + steps, self._observation.size, dtype=self._observation.dtype, device=device
        )
        self.x[:, : self.reach] = recent.to(self.x.dtype)
        self.e = self._observation.embed(self.x).to(model.weight.dtype)
        before = torch.arange(self.reach, device=device) - self.reach + position[:, None] < 0  # (R, reach)
        self.e[:, : self.reach].masked_fill_(before[..., None], 0.0)
        self._distances = model.past.distances(device)

    def far(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Features (A, W, len(far) * F) at the distances that the stack reads, before `steps` (A, W) of `rows` (A,)."""
        at = self.reach + steps[..., None] - self._distances  # (A, W, far)
        return self.e[rows[:, None, None], at].flatten(2)

    def far_in_order(self, rows: int, begin: int, stop: int) -> Tensor:
        """`far` of the steps from `begin` to `stop` of the first `rows`."""
        at = torch.arange(begin + self.reach, stop + self.reach, device=self.e.device)[:, None] - self._distances
        return self.e[:rows].index_select(1, at.view(-1)).view(rows, stop - begin, -1)

    def take_in_order(self, begin: int, values: Tensor, features: Tensor) -> None:
        """Takes values (A, W, size) and their features (A, W, F) of the first rows from step `begin` on."""
        here = slice(self.reach + begin, self.reach + begin + values.shape[1])
        self.x[: len(values), here], self.e[: len(values), here] = values, features

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

    @property
    def made(self) -> Tensor:
        """Those from the first step on, (R, T, size)."""
        return self.x[:, self.reach :]

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
    budget: Budget | None = None,
    window: int | None = None,
    waits: bool | None = None,
) -> Solved:
    """T steps of every row from `noise` (R, T, ...) and the features d (R, T, D) of latents, up to step `last` (R,).

    `position` (R,) is that of the first step, `state` holds "past" and "recent". `window` steps go into a pass, by
    default as many as are cheapest. With a `budget` segments are counted from the first step on. Unless it `waits` for
    the device, as by default on a CPU only, windows that need no guesses go over all rows, also those at their end.
    """
    waits = not last.is_cuda if waits is None else waits
    work = Work(model, networks, position, noise, d, state)
    steps, end = noise.shape[1], last + 1
    window = best_window(work.near) if window is None else window
    if budget is None and window <= work.near + 1:
        work.advance_in_order(end, _rows_left(end, steps, work.near + 1) if waits else None)
    else:
        segment, most = budget or (steps, 0)
        for begin in range(0, steps, segment):
            stop, count = end.clamp(max=begin + segment), 0
            while len(rows := torch.nonzero(work.at < stop)[:, 0]):
                count += 1
                work.advance(rows, stop[rows], segment if budget else window, count == most)
    return Solved(work.values.made, work.params, {"past": work.stack, "recent": work.values.recent(end)}, work.passes)


class Work:
    """What is known of every row: verified values up to `verified`, the stack's state up to `at` <= `verified`."""

    def __init__(
        self,
        model: VSSM,
        networks: Networks,
        position: Tensor,
        noise: Tensor,
        d: Tensor | None,
        state: dict[str, Tensor],
    ) -> None:
        assert model.past is not None
        self._networks, self._noise = networks, noise
        self.near = model.past.config.near
        rows, steps = noise.shape[:2]
        self.values = Values(model, state["recent"], position, steps)
        self.params = torch.zeros(
            rows, steps, *model.observation.params_shape, dtype=model.weight.dtype, device=noise.device
        )
        self._added = _added(model, position, steps, d)
        self.stack = state["past"].clone()
        self.at, self.verified, self.passes = (position.new_zeros(rows) for _ in range(3))

    def advance_in_order(self, end: Tensor, left: list[int] | None) -> None:
        """All rows side by side to their ends (R,); near + 1 steps a pass, so none is guessed.

        `left` says how many of the first rows each window is for, where that is known; the others are at their end.
        """
        steps, window, values = self._noise.shape[1], self.near + 1, self.values
        for k, begin in enumerate(range(0, steps, window)):
            rows, stop = len(end) if left is None else left[k], min(begin + window, steps)
            if not rows:
                break
            here, going = slice(begin, stop), end[:rows] > begin
            committed = (end[:rows] - 1 - begin).clamp(min=0, max=stop - begin - 1)
            added = None if self._added is None else self._added[:rows, here]
            b, after = self._networks.far(values.far_in_order(rows, begin, stop), added, self.stack[:rows], committed)
            self.stack[:rows] = torch.where(going[:, None, None], after, self.stack[:rows])
            e = values.e[:rows, values.reach + begin - self.near : values.reach + stop].contiguous()
            made, self.params[:rows, here] = self._networks.sweep(b, e, self._noise[:rows, here])
            values.take_in_order(begin, made, e[:, self.near :])
            self.passes[:rows] += going

    def advance(self, rows: Tensor, stop: Tensor, window: int, take: bool) -> None:
        """One pass over a window of each of `rows` (A,), up to step `stop` (A,); with `take` all of it is accepted."""
        first, known = self.at[rows], self.verified[rows]
        width = min(max(window, self.near + 1), int((stop - first).max()))
        wanted = first[:, None] + torch.arange(width, device=first.device)  # (A, W)
        within, steps = wanted < stop[:, None], wanted.clamp(max=self._noise.shape[1] - 1)
        right = stop if take else torch.minimum(stop, known + self.near + 1)  # the stack reads what is known up to here
        committed = torch.minimum(right, first + width) - 1 - first
        added = None if self._added is None else self._added[rows[:, None], steps]
        b, self.stack[rows] = self._networks.far(self.values.far(rows, steps), added, self.stack[rows], committed)
        near = self.values.near(rows, first, self.near, width)
        made, params = self._networks.sweep(b, near, self._noise[rows[:, None], steps])
        wrong = self.values.changed(rows, steps, made) & within & (wanted >= known[:, None])
        verified = torch.where(wrong.any(1), wrong.int().argmax(1) + self.near + 1, width).clamp(max=width) + first
        self.values.write(rows, steps, within, made)
        self.params[rows[:, None].expand_as(steps)[within], steps[within]] = params[within]
        self.verified[rows] = stop if take else torch.minimum(torch.maximum(known, verified), stop)
        self.at[rows] = first + committed + 1
        self.passes[rows] += 1


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
    rows, steps, _ = x.shape
    values = Values(model, state["recent"], position, steps)
    values.take_in_order(0, x, model.observation.embed(x).to(values.e.dtype))
    far, added = values.far_in_order(rows, 0, steps), _added(model, position, steps, d)
    _, stack = networks.far(far, added, state["past"], last)
    return {"past": stack, "recent": values.recent(last + 1)}


def as_always(model: VSSM, budget: Budget | None) -> bool:
    """Whether the passes are the same whatever the values, so that they may be a graph: none of them guesses."""
    near = None if model.past is None else model.past.config.near
    return near is None or (budget is None and best_window(near) <= near + 1)


def _rows_left(end: Tensor, steps: int, window: int) -> list[int]:
    """How many rows are at most as far as each window's beginning: up to the last of them that is not at its end."""
    begin = torch.arange(0, steps, window, device=end.device)
    number = torch.arange(1, len(end) + 1, device=end.device)
    left: list[int] = ((end[:, None] > begin) * number[:, None]).amax(0).tolist()
    return left


def best_window(near: int) -> int:
    """Steps of a pass."""
    return near + 1 if near else 64


def _added(model: VSSM, position: Tensor, steps: int, d: Tensor | None) -> Tensor | None:
    """What the stack reads besides values (R, T, D): the features of latents and the embedding of positions."""
    assert model.past is not None
    place = model.past.place(position[:, None] + torch.arange(steps, device=position.device))
    return place if d is None else d if place is None else d + place
