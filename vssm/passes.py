"""A pass: many sequences advance by a window of steps each, in parallel over sequences and steps.

Every random number depends on (seed, sample, position, purpose) only and every row is computed as if it were alone, so
values and states are the same bits however a sequence is cut into windows and whoever shares the pass.

    encoder  -> e    observed steps: what the prefix says
    level k  -> z    observed steps from the posterior, generated ones from the prior; d = decoder(z)
    head     -> x    generated steps
    encoder  -> .    generated steps whose state will be given more observed ones later

An encoder that sees noise reads, for generated steps, the prior's noise in place of the posterior's. A pass goes in
blocks of steps, small enough for the caches; a sequence leaves it with the block in which its window ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from vssm.networks import Networks
from vssm.noise import Counters, Purpose
from vssm.state import State

if TYPE_CHECKING:
    from vssm.model import VSSM

Output = Literal["sample", "mean"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """Advance `state` by `length` steps: given ones when `observed` (length, size) is set, else generated ones.

    `temperature` scales the observation noise (0 = most likely value); `output` "mean" returns expected values and
    still advances on samples. `encode` keeps the encoder up to date, which a later prefix needs.
    """

    state: State
    length: int
    observed: Array | None = None
    temperature: float = 1.0
    output: Output = "sample"
    encode: bool = True


@dataclass(frozen=True)
class Advance:
    """values (num_samples, length, size), without steps for an observed window; the state after them.

    `finite` is False when NaN or infinity came up in the distributions of the values or in the state: values drawn
    from such distributions look like any others, and are not to be used.
    """

    values: Array
    state: State
    finite: bool = True


@dataclass(frozen=True)
class Block:
    """What one block made of its rows: values and, where asked for, expected values (R, T, size); which are finite."""

    values: Tensor | None
    mean: Tensor | None
    finite: Tensor | None
    state: dict[str, Tensor]


class Part:
    """One window in a pass: the rows that are its samples, and what has been made of them so far."""

    def __init__(self, window: Window, first: int) -> None:
        self.window = window
        self.rows = slice(first, first + window.state.num_samples)
        self.values: list[Array] = []
        self.finite = True
        self.state: State | None = None

    def take(self, block: Block, done: int, steps: int, encoder: bool) -> None:
        """Keeps this window's share of a block of `steps` steps, before which `done` were done."""
        source = block.mean if self.window.output == "mean" else block.values
        if source is not None and block.finite is not None:
            self.values.append(source[self.rows, : self.window.length - done].numpy())
            self.finite = self.finite and bool(block.finite[self.rows].all())
        if done + steps < self.window.length:
            return
        tensors = {name: tensor[self.rows].clone() for name, tensor in block.state.items()}
        self.finite = self.finite and all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
        position = self.window.state.position + self.window.length
        self.state = replace(self.window.state, position=position, encoder=encoder, tensors=tensors)

    def result(self, size: int) -> Advance:
        """After the last block."""
        assert self.state is not None
        if not self.values:
            return Advance(np.zeros((self.state.num_samples, 0, size)), self.state, self.finite)
        whole = self.values[0] if len(self.values) == 1 else np.concatenate(self.values, axis=1)
        return Advance(whole, self.state, self.finite)


class Pass:
    """Windows that all observe, all generate, or all generate and keep their encoders: rows from the longest on."""

    def __init__(self, model: VSSM, networks: Networks, windows: Sequence[Window]) -> None:
        self.model, self.networks = model, networks
        self.order = sorted(range(len(windows)), key=lambda i: -windows[i].length)
        self.parts: list[Part] = []
        for i in self.order:
            self.parts.append(Part(windows[i], self.parts[-1].rows.stop if self.parts else 0))
        chosen = [part.window for part in self.parts]
        self.observing, self.encoding = chosen[0].observed is not None, keeps_encoder(model, chosen[0])
        self.length = self._per_row([w.length for w in chosen])
        self.temperature = self._per_row([w.temperature for w in chosen], torch.float32)
        self.counters = Counters(
            seed=self._per_row([w.state.seed for w in chosen]),
            sample=torch.cat([torch.arange(w.state.num_samples, device=model.device) for w in chosen]),
            position=self._per_row([w.state.position for w in chosen]),
        )
        names = chosen[0].state.tensors
        self.state = {name: torch.cat([w.state.tensors[name] for w in chosen]) for name in names}

    def _per_row(self, values: list[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        counts = [part.window.state.num_samples for part in self.parts]
        return torch.from_numpy(np.repeat(np.array(values), counts)).to(self.model.device, dtype)

    def run(self) -> list[Advance]:
        """The results, in the order in which the windows were given."""
        done = 0
        while active := [part for part in self.parts if part.window.length > done]:
            rows = active[-1].rows.stop
            steps = min(active[0].window.length - done, max(1, self.networks.block_rows // rows))
            block = self._block(active, rows, done, steps)
            for name, tensor in block.state.items():
                self.state[name][:rows] = tensor
            for part in active:
                part.take(block, done, steps, part.window.state.encoder and self.encoding)
            done += steps
        results = dict(zip(self.order, self.parts, strict=True))
        return [results[i].result(self.model.config.size) for i in range(len(results))]

    def _block(self, active: list[Part], rows: int, done: int, steps: int) -> Block:
        last = (self.length[:rows] - (done + 1)).clamp(max=steps - 1)
        state = {name: tensor[:rows] for name, tensor in self.state.items()}
        counters = Counters(
            self.counters.seed[:rows], self.counters.sample[:rows], self.counters.position[:rows] + done
        )
        if self.observing:
            x = self._observed(active, rows, done, steps)
            return Block(None, None, None, observe(self.model, self.networks, counters, x, state, last))
        mean = any(part.window.output == "mean" for part in active)
        block = generate(
            self.model, self.networks, counters, self.temperature[:rows], state, last, steps, mean, self.encoding
        )
        on_host: dict[str, Any] = {
            name: tensor.cpu() for name, tensor in vars(block).items() if isinstance(tensor, Tensor)
        }
        return replace(block, **on_host)

    def _observed(self, active: list[Part], rows: int, done: int, steps: int) -> Tensor:
        """Observed values of the block (R, T, size), zeros behind shorter windows."""
        observation = self.model.observation
        x = torch.zeros(rows, steps, observation.size, dtype=observation.dtype)
        for part in active:
            assert part.window.observed is not None
            given = part.window.observed[done : done + steps]
            x[part.rows, : len(given)] = torch.from_numpy(np.ascontiguousarray(given)).to(observation.dtype)
        return x.to(self.model.device)


def keeps_encoder(model: VSSM, window: Window) -> bool:
    """Whether the encoder goes over the window's steps."""
    return model.config.encoder.kind == "causal" and (window.encode or window.observed is not None)


def observe(
    model: VSSM, networks: Networks, counters: Counters, x: Tensor, state: dict[str, Tensor], last: Tensor
) -> dict[str, Tensor]:
    """The state after observed values x (R, T, size); `last` (R,) is each row's last step."""
    noise = _noise(model, counters, Purpose.POSTERIOR, x.shape[1])
    seen, state = model.gaussian_noise(noise), dict(state)
    features = model.encoder_features(x, seen, state.get("noise"))
    e, state["encoder"] = networks.encode(features, state["encoder"], last)
    d: Tensor | None = None
    for k in range(len(model.levels)):
        z = networks.posterior(k, e, d, noise[k])
        d, state[f"level{k}"] = networks.decode(k, z, d, state[f"level{k}"], last)
    return _with_noise(state, seen, last)


def generate(
    model: VSSM,
    networks: Networks,
    counters: Counters,
    temperature: Tensor,
    state: dict[str, Tensor],
    last: Tensor,
    steps: int,
    mean: bool,
    encode: bool,
) -> Block:
    """`steps` generated steps of every row; `last` (R,) is each row's last step, `temperature` (R,)."""
    noise = _noise(model, counters, Purpose.PRIOR, steps)
    seen, state = model.gaussian_noise(noise), dict(state)
    d: Tensor | None = None
    for k in range(len(model.levels)):
        z = networks.prior(k, d, noise[k])
        d, state[f"level{k}"] = networks.decode(k, z, d, state[f"level{k}"], last)
    assert d is not None
    params = networks.params(d)
    values = model.observation.sample(params, counters, temperature)
    if encode:
        features = model.encoder_features(values, seen, state.get("noise"))
        _, state["encoder"] = networks.encode(features, state["encoder"], last)
    beyond = torch.arange(steps, device=last.device) > last[:, None]
    finite = (torch.isfinite(params).flatten(2).all(2) | beyond).all(1)
    expected = model.observation.mean(params, temperature) if mean else None
    return Block(values, expected, finite, _with_noise(state, seen, last))


def _noise(model: VSSM, counters: Counters, purpose: Purpose, steps: int) -> list[Tensor]:
    """Base noise of every level (R, T, Z)."""
    latents = [level.latent for level in model.levels]
    return [counters.draw(v.noise_kind, purpose + k, steps, v.size) for k, v in enumerate(latents)]


def _with_noise(state: dict[str, Tensor], seen: Tensor | None, last: Tensor) -> dict[str, Tensor]:
    """The state with the noise of each row's last step, which an encoder that sees noise reads next."""
    return state if seen is None else {**state, "noise": seen[torch.arange(len(last), device=last.device), last]}
