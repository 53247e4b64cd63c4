"""A pass: many sequences advance by a window of steps each, in parallel over sequences and steps.

Every random number depends on (seed, sample, position, purpose) only and every row is computed as if it were alone, so
values and states are the same bits however a sequence is cut into windows and whoever shares the pass.

    encoder  -> e    observed steps: what the prefix says
    level k  -> z    observed steps from the posterior, generated ones from the prior; d = decoder(z)
    head     -> x    generated steps
    encoder  -> .    generated steps whose state will be given more observed ones later

Where a state has a `scale`, the networks see values normalised by it, and callers see them in their own units.
An encoder that sees noise reads, for generated steps, the prior's noise in place of the posterior's. A pass goes in
`blocks` of steps, small enough for the caches; a sequence leaves it with the block in which its window ends. Only a
bidirectional encoder goes over a whole prefix beforehand, over each window's by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from vssm.blocks import Kind, compute
from vssm.config import Encoder
from vssm.networks import Networks
from vssm.noise import Counters, particle
from vssm.particles import Particles
from vssm.solve import Budget, as_always
from vssm.ssm import Bidirectional, Stack
from vssm.state import State

if TYPE_CHECKING:
    from vssm.model import VSSM

_WINDOWED = 16  # times as many steps in a block that is cut into windows
Output = Literal["sample", "mean"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """Advance `state` by `length` steps: given ones when `observed` (length, size) is set, else generated ones.

    A window may be any part of a prefix, so it leaves the scale of a state as it is: `VSSM.scaled` takes it before.

    `temperature` scales the observation noise (0 = most likely value); `output` "mean" returns expected values and
    still advances on samples. `encode` keeps the encoder up to date, which a later prefix needs. `particles`, whose
    state it then is, are weighed by what is observed. A `budget` of passes makes the values of
    a decoder that reads earlier ones approximate; the window is then whole segments, or the end of what is wanted.
    """

    state: State
    length: int
    observed: Array | None = None
    temperature: float = 1.0
    output: Output = "sample"
    encode: bool = True
    particles: Particles | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Advance:
    """values (num_samples, length, size), without steps for an observed window; the state after them.

    `finite` is False when NaN or infinity came up in the distributions of the values or in the state: values drawn
    from such distributions look like any others, and are not to be used. `log_weight` (rows,) float64 is that of
    particles after the window.
    """

    values: Array
    state: State
    finite: bool = True
    log_weight: Array | None = None
    passes: Array | None = None


class Part:
    """One window in a pass: the rows that are its samples, and what has been made of them so far."""

    def __init__(self, window: Window, first: int) -> None:
        self.window = window
        self.rows = slice(first, first + window.state.num_samples)
        self.values: list[Array] = []
        self.finite = True
        self.features: Tensor | None = None
        self.log_weight = None if window.particles is None else window.particles.log_weight
        self.passes: Array | None = None

    def take(self, made: dict[str, Tensor], done: int) -> None:
        """Keeps this window's share of what a block made, before which `done` steps were done; all on the host."""
        source = made.get("mean" if self.window.output == "mean" else "values")
        if source is not None:
            self.values.append(source[self.rows, : self.window.length - done].numpy())
        self.finite = self.finite and bool(made["finite"][self.rows].all())
        if "passes" in made:
            passes = made["passes"][self.rows].numpy()
            self.passes = passes if self.passes is None else self.passes + passes
        if self.log_weight is not None:  # one step after another, so that windows may be cut anywhere
            terms = made["weight"][self.rows, : self.window.length - done].numpy()
            self.log_weight = np.add.accumulate(np.column_stack([self.log_weight, terms]), axis=1)[:, -1]
            self.finite = self.finite and bool(np.isfinite(self.log_weight).all())

    def result(self, states: dict[str, Tensor], encoder: bool, size: int) -> Advance:
        """After the last block, from the states of all rows on the host."""
        before, values = self.window.state, self.values
        state = replace(
            before,
            position=before.position + self.window.length,
            encoder=before.encoder and encoder,
            tensors={name: tensor[self.rows].clone() for name, tensor in states.items()},
        )
        if not values:
            return Advance(np.zeros((before.num_samples, 0, size)), state, self.finite, self.log_weight)
        made = values[0] if len(values) == 1 else np.concatenate(values, axis=1)
        return Advance(made, state, self.finite, passes=self.passes)


class Pass:
    """Windows that are `alike`: rows from the longest on."""

    def __init__(self, model: VSSM, networks: Networks, windows: Sequence[Window]) -> None:
        self.model, self.networks = model, networks
        self.order = sorted(range(len(windows)), key=lambda i: -windows[i].length)
        self.parts: list[Part] = []
        for i in self.order:
            self.parts.append(Part(windows[i], self.parts[-1].rows.stop if self.parts else 0))
        chosen = [part.window for part in self.parts]
        self.kind = alike(model, chosen[0])
        self.length, seed, position, sample = _per_row(chosen).to(model.device).unbind()
        self._read_ahead()
        self.counters = Counters(seed, sample, position)
        temperature = np.repeat([w.temperature for w in chosen], [w.state.num_samples for w in chosen])
        self.temperature = torch.from_numpy(temperature).to(model.device, torch.float32)
        names = chosen[0].state.tensors
        self.state = {name: torch.cat([w.state.tensors[name] for w in chosen]).to(model.device) for name in names}

    def _read_ahead(self) -> None:
        """What a bidirectional encoder makes of each window's prefix (steps, E): the same for all of its rows."""
        if not self.kind.reading:
            return
        for part in self.parts:
            assert part.window.observed is not None
            x = _copied(part.window.observed, self.model.observation.dtype)
            features = self.model.encoder_features(x[None].to(self.model.device), None, None)
            part.features = self.networks.encode_whole(features)[0]

    def run(self) -> list[Advance]:
        """The results, in the order in which the windows were given."""
        done = 0
        while active := [part for part in self.parts if part.window.length > done]:
            rows = active[-1].rows.stop
            steps = min(active[0].window.length - done, self._block_steps(rows))
            made = self._block(active, rows, done, steps)
            for part in active:
                part.take(made, done)
            done += steps
        states, size = _to_host(self.state), self.model.config.size
        encoder = self.kind.encoding or self.model.encoder is None  # one without a state is always up to date
        results = dict(zip(self.order, (part.result(states, encoder, size) for part in self.parts), strict=True))
        return [results[i] for i in range(len(results))]

    def _block_steps(self, rows: int) -> int:
        """Steps of a block; a decoder that reads earlier values cuts it further by itself, into windows."""
        past = self.model.past
        if past is None:
            return max(1, self.networks.block_rows // rows)
        whole = self.kind.budget.segment if self.kind.budget else past.config.near + 1
        return whole * max(1, _WINDOWED * self.networks.block_rows // rows // whole)

    def _block(self, active: list[Part], rows: int, done: int, steps: int) -> dict[str, Tensor]:
        """One block through the networks: values, expected values and `finite` on the host; the state stays here."""
        inputs = {
            "seed": self.counters.seed[:rows],
            "sample": self.counters.sample[:rows],
            "position": self.counters.position[:rows] + done,
            "temperature": self.temperature[:rows],
            "last": (self.length[:rows] - (done + 1)).clamp(max=steps - 1),
        } | {f"state {name}": tensor[:rows] for name, tensor in self.state.items()}
        if self.kind.observing:
            inputs["x"] = self._observed(active, rows, done, steps)
        if self.kind.reading:
            inputs["e"] = self._features(active, rows, done, steps)
        mean = any(part.window.output == "mean" for part in active)
        function = partial(compute, self.model, self.networks, self.kind, mean)
        if as_always(self.model, self.kind.budget):
            timed = ("x", "e", "values", "mean", "weight")
            outputs = self.networks.run((self.kind, mean), function, inputs, steps, timed)
        else:
            outputs = function(inputs, steps)
        for key, whole in self.state.items():
            whole[:rows] = outputs.pop(f"state {key}")
        return _to_host(outputs)

    def _observed(self, active: list[Part], rows: int, done: int, steps: int) -> Tensor:
        """Observed values of the block (R, T, size), zeros behind shorter windows."""
        observation = self.model.observation
        x = torch.zeros(rows, steps, observation.size, dtype=observation.dtype)
        for part in active:
            assert part.window.observed is not None
            given = part.window.observed[done : done + steps]
            x[part.rows, : len(given)] = _copied(given, observation.dtype)
        return x.to(self.model.device)

    def _features(self, active: list[Part], rows: int, done: int, steps: int) -> Tensor:
        """Encoder features of the block (R, T, E), zeros behind shorter windows."""
        e = self.model.weight.new_zeros(rows, steps, cast(Encoder, self.model.config.encoder).width)
        for part in active:
            assert part.features is not None
            given = part.features[done : done + steps]
            e[part.rows, : len(given)] = given
        return e


def _per_row(windows: Sequence[Window]) -> Tensor:
    """length, seed, position and sample of every row, int64 (4, R): one copy to the device."""
    counts = [w.state.num_samples for w in windows]
    shared = np.array([(w.length, w.state.seed, w.state.position) for w in windows], np.int64)
    sample = torch.cat([_samples(window) for window in windows])
    return torch.cat([torch.from_numpy(np.repeat(shared, counts, axis=0).T), sample[None]])


def _copied(observed: Array, dtype: torch.dtype) -> Tensor:
    """Torch shares no memory that is read-only, as that of a message is."""
    return torch.tensor(np.ascontiguousarray(observed), dtype=dtype)


def _samples(window: Window) -> Tensor:
    rows = torch.arange(window.state.num_samples)
    if window.particles is None:
        return rows
    return particle(rows // window.particles.count, rows % window.particles.count)


def _to_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All of them, waiting for the device once."""
    moved = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}
    if any(tensor.is_cuda for tensor in tensors.values()):
        torch.cuda.current_stream().synchronize()
    return moved


def alike(model: VSSM, window: Window) -> Kind:
    """The windows of one pass have one kind."""
    observing = window.observed is not None
    causal = isinstance(model.encoder, Stack)
    return Kind(
        observing=observing,
        encoding=causal and (window.encode or observing),
        reading=observing and isinstance(model.encoder, Bidirectional),
        weighing=window.particles is not None,
        budget=window.budget,
    )
