"""Generation: advance many sequences by a window of steps each, in one parallel pass.

A request is a state, windows of observed steps (its prefix), then windows of generated ones. Every random number
depends on (seed, sample, position, purpose) only and every row is computed as if it were alone, so values and states
are the same bits however a sequence is cut into windows and whoever shares the pass.

    encoder  -> e    observed rows only: what the prefix says
    level k  -> z    observed rows from the posterior, generated rows from the prior; d = decoder(z)
    head     -> x    generated rows only
    encoder  -> .    generated rows whose state will be given more observed steps later

An encoder that sees noise reads, for generated steps, the prior's noise in place of the posterior's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from vssm.noise import MAX_POSITION, MAX_SAMPLES, MAX_SEED, Counters, Purpose
from vssm.observations import ObservationError
from vssm.ssm import Stack
from vssm.state import State, StateError

if TYPE_CHECKING:
    from vssm.model import VSSM

MAX_TEMPERATURE = 10.0
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


class NonFiniteError(ArithmeticError):
    """The model made NaN or infinity: its weights, or what it was given, are out of range."""


Generated = Advance


def start(model: VSSM, num_samples: int, seed: int) -> State:
    """The state of `num_samples` sequences before their first step."""
    if not 1 <= num_samples < MAX_SAMPLES:
        raise ValueError(f"num_samples must be from 1 to {MAX_SAMPLES - 1}, not {num_samples}")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
    tensors = {name: torch.zeros(num_samples, *shape) for name, shape in _state_shapes(model).items()}
    return State(model.fingerprint, seed, 0, True, {k: v.to(model.device) for k, v in tensors.items()})


def _state_shapes(model: VSSM) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(model.encoder, Stack):
        shapes["encoder"] = model.encoder.state_shape
    if model.noise_size:
        shapes["noise"] = (model.noise_size,)
    return shapes | {f"level{k}": level.stack.state_shape for k, level in enumerate(model.levels)}


def advance(model: VSSM, windows: Sequence[Window]) -> list[Advance]:
    """Advance each window's sequences; results in the order of `windows`.

    Any mixture of lengths, seeds, positions and models' options may share a pass; windows of very different length are
    run apart, so that short ones do not pay for long ones. Raises StateError or ObservationError before anything runs.
    """
    for window in windows:
        _check(model, window)
    results: dict[int, Advance] = {}
    with torch.no_grad():
        for group in _similar(windows):
            passed = _Pass(model, [windows[i] for i in group]).run()
            results.update(zip(group, passed, strict=True))
    return [results[i] for i in range(len(windows))]


def _check(model: VSSM, window: Window) -> None:
    state = window.state
    if state.fingerprint != model.fingerprint:
        raise StateError(
            f"this state was made by a model with fingerprint {state.fingerprint[:12]}..., "
            f"not by this one ({model.fingerprint[:12]}...)"
        )
    shapes = {name: tuple(t.shape[1:]) for name, t in state.tensors.items()}
    if shapes != _state_shapes(model):
        raise StateError(f"this state holds tensors {shapes}, the model needs {_state_shapes(model)}")
    if window.length < 1 or state.position + window.length > MAX_POSITION:
        raise ValueError(f"a window's length must be at least 1 and end before position 2^48, not {window.length}")
    if window.observed is not None:
        if not isinstance(model.encoder, Stack):
            raise ObservationError("a prefix needs a model with a causal encoder; this one's is bidirectional")
        if not state.encoder:
            raise StateError("this state cannot take observed steps: steps were generated without keeping the encoder")
        if window.observed.shape != (window.length, model.config.size):
            raise ObservationError(
                f"observed values must be of shape {(window.length, model.config.size)}, not {window.observed.shape}"
            )


def _similar(windows: Sequence[Window]) -> Iterator[list[int]]:
    """Indices of windows to run together: the longest at most twice as long as the shortest."""
    order = sorted(range(len(windows)), key=lambda i: windows[i].length)
    while order:
        limit = 2 * windows[order[0]].length
        group = [i for i in order if windows[i].length <= limit]
        yield group
        order = order[len(group) :]


class _Pass:
    """One parallel pass over windows of similar length: observed rows first, then generated ones.

    rows R = sum of num_samples, steps T = longest window; shorter rows run on and their surplus is dropped.
    """

    def __init__(self, model: VSSM, windows: list[Window]) -> None:
        self.model = model
        self.order = sorted(range(len(windows)), key=lambda i: windows[i].observed is None)
        self.windows = [windows[i] for i in self.order]
        self.counts = [w.state.num_samples for w in self.windows]
        self.steps = max(w.length for w in self.windows)
        self.observed_rows = sum(n for w, n in zip(self.windows, self.counts, strict=True) if w.observed is not None)
        self.last = self._per_row([w.length - 1 for w in self.windows])
        self.temperature = self._per_row([w.temperature for w in self.windows], torch.float32)[self.observed_rows :]
        self.counters = Counters(
            seed=self._per_row([w.state.seed for w in self.windows]),
            sample=torch.cat([torch.arange(n, device=model.device) for n in self.counts]),
            position=self._per_row([w.state.position for w in self.windows]),
        )
        names = self.windows[0].state.tensors
        self.state = {name: torch.cat([w.state.tensors[name] for w in self.windows]) for name in names}

    def _per_row(self, values: list[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        per_window = torch.tensor(values, dtype=dtype, device=self.model.device)
        return per_window.repeat_interleave(torch.tensor(self.counts, device=self.model.device))

    def run(self) -> list[Advance]:
        noise = [self._noise(k) for k in range(len(self.model.levels))]
        seen = self.model.gaussian_noise(noise)
        split = self.observed_rows
        e = self._encode(self._observations(), seen, slice(0, split)) if split else None
        d = self._latents(e, noise)
        values = mean = params = None
        if split < len(self.last):
            params = self.model.observation.params(d[split:])
            values, mean = self._outputs(params)
            rows = self._rows_to_encode()
            if len(rows):
                self._encode(values[rows - split], seen, rows)
        if seen is not None:
            self.state["noise"] = seen[torch.arange(len(self.last), device=seen.device), self.last]
        return self._results(params, values, mean)

    def _noise(self, k: int) -> Tensor:
        """Base noise of level k (R, T, Z): the posterior's for observed rows, the prior's for generated ones."""
        latent, split = self.model.levels[k].latent, self.observed_rows
        parts = [
            _slice(self.counters, rows).draw(latent.noise_kind, purpose + k, self.steps, latent.size)
            for rows, purpose in ((slice(0, split), Purpose.POSTERIOR), (slice(split, None), Purpose.PRIOR))
        ]
        return torch.cat(parts)

    def _observations(self) -> Tensor:
        """Observed values of the observed rows (Ro, T, size), zeros behind shorter prefixes."""
        padded = np.zeros((self.observed_rows, self.steps, self.model.config.size), np.float64)
        row = 0
        for window, count in zip(self.windows, self.counts, strict=True):
            if window.observed is not None:
                padded[row : row + count, : window.length] = window.observed
                row += count
        return torch.from_numpy(padded).to(self.model.device, self.model.observation.dtype)

    def _encode(self, x: Tensor, seen: Tensor | None, rows: slice | Tensor) -> Tensor:
        """Encoder features of `rows`, whose encoder state moves on."""
        noise = None if seen is None else seen[rows]
        before = None if seen is None else self.state["noise"][rows]
        e, state = self.model.encode(x, noise, before, self.state["encoder"][rows], self.last[rows])
        assert state is not None
        self.state["encoder"][rows] = state
        return e

    def _rows_to_encode(self) -> Tensor:
        """Indices of the generated rows whose encoder is kept up to date."""
        kept = [isinstance(self.model.encoder, Stack) and w.observed is None and w.encode for w in self.windows]
        return self._per_row(kept, torch.bool).nonzero()[:, 0]

    def _keeps_encoder(self, window: Window) -> bool:
        return window.state.encoder and (window.encode or window.observed is not None)

    def _latents(self, e: Tensor | None, noise: list[Tensor]) -> Tensor:
        """Draw and decode the levels from coarse to fine: decoder features (R, T, D)."""
        split = self.observed_rows
        d: Tensor | None = None
        for k, level in enumerate(self.model.levels):
            below_seen = None if d is None else d[:split]
            below_new = None if d is None else d[split:]
            parts = [] if e is None else [level.latent.posterior(e, below_seen, noise[k][:split]).z]
            parts.append(level.latent.prior(below_new, noise[k][split:]))
            d, self.state[f"level{k}"] = level.decode(torch.cat(parts), d, self.state[f"level{k}"], self.last)
        assert d is not None
        return d

    def _outputs(self, params: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples of the generated rows (Rg, T, size), and expected values where a window asks for them."""
        observation, split = self.model.observation, self.observed_rows
        values = observation.sample(params, _slice(self.counters, slice(split, None)), self.temperature)
        wanted = any(w.output == "mean" and w.observed is None for w in self.windows)
        return values, observation.mean(params, self.temperature) if wanted else None

    def _results(self, params: Tensor | None, values: Tensor | None, mean: Tensor | None) -> list[Advance]:
        results: dict[int, Advance] = {}
        row = 0
        for place, window, count in zip(self.order, self.windows, self.counts, strict=True):
            rows = slice(row, row + count)
            row += count
            checked = [t[rows] for t in self.state.values()]
            if window.observed is None:
                source = mean if window.output == "mean" else values
                assert source is not None
                assert params is not None
                new = slice(rows.start - self.observed_rows, rows.stop - self.observed_rows)
                array = source[new, : window.length].cpu().numpy().copy()
                checked.append(params[new, : window.length])
            else:
                array = np.zeros((count, 0, self.model.config.size))
            state = replace(
                window.state,
                position=window.state.position + window.length,
                encoder=self._keeps_encoder(window),
                tensors={name: t[rows].clone() for name, t in self.state.items()},
            )
            finite = all(bool(torch.isfinite(t).all()) for t in checked)
            results[place] = Advance(array, state, finite)
        return [results[i] for i in range(len(results))]


def _slice(counters: Counters, rows: slice) -> Counters:
    return Counters(counters.seed[rows], counters.sample[rows], counters.position[rows])


# -- one request at a time: what `VSSM` offers --------------------------------------------------------------------


def condition(model: VSSM, prefix: Any, num_samples: int, seed: int, state: State | None) -> State:
    """The state after observing `prefix` (steps, size)."""
    state = start(model, num_samples, seed) if state is None else state
    observed = model.check_observed(prefix)
    if not len(observed):
        return state
    return _finite(advance(model, [Window(state, len(observed), observed)])[0]).state


def _finite(result: Advance) -> Advance:
    if not result.finite:
        raise NonFiniteError(f"the model made NaN or infinity before position {result.state.position}")
    return result


def stream(
    model: VSSM,
    chunk_steps: int = 256,
    *,
    num_samples: int | None = None,
    length: int | None = None,
    seed: int | None = None,
    prefix: Any = None,
    state: State | None = None,
    temperature: float = 1.0,
    output: Output = "sample",
) -> Iterator[Generated]:
    """Chunks of at most `chunk_steps` generated steps, each with its state."""
    if state is not None and (num_samples is not None or seed is not None):
        raise ValueError("num_samples and seed come from the state when one is given; leave them out")
    if output not in ("sample", "mean"):
        raise ValueError(f"output must be 'sample' or 'mean', not {output!r}")
    if not 0.0 <= temperature <= MAX_TEMPERATURE:
        raise ValueError(f"temperature must be from 0 to {MAX_TEMPERATURE:g}, not {temperature}")
    if chunk_steps < 1:
        raise ValueError(f"chunk_steps must be at least 1, not {chunk_steps}")
    if state is None:
        state = start(model, 1 if num_samples is None else num_samples, 0 if seed is None else seed)
    if prefix is not None:
        state = condition(model, prefix, state.num_samples, state.seed, state)
    remaining = length if length is not None else max(0, model.config.length - state.position)
    if remaining < 1:
        raise ValueError(
            f"length must be at least 1, not {remaining}; give one, since position {state.position} is past the end"
            if length is None
            else f"length must be at least 1, not {length}"
        )
    while remaining:
        window = Window(state, min(chunk_steps, remaining), None, temperature, output)
        chunk = _finite(advance(model, [window])[0])
        state, remaining = chunk.state, remaining - window.length
        yield chunk


def generate(
    model: VSSM,
    num_samples: int | None,
    length: int | None,
    seed: int | None,
    prefix: Any,
    state: State | None,
    temperature: float,
    output: Output,
) -> Generated:
    """All steps at once, in one pass for lengths up to 2^14 and in passes of that many steps beyond."""
    chunks = list(
        stream(
            model,
            2**14,
            num_samples=num_samples,
            length=length,
            seed=seed,
            prefix=prefix,
            state=state,
            temperature=temperature,
            output=output,
        )
    )
    return Advance(np.concatenate([c.values for c in chunks], axis=1), chunks[-1].state)
