"""Generation as users call it: start, condition on a prefix, generate, stream, resume; and `advance`, what all of it is
made of. The passes themselves are in `passes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vssm import scaling
from vssm.blocks import Kind
from vssm.noise import MAX_POSITION, MAX_SAMPLES, MAX_SEED
from vssm.observations import ObservationError
from vssm.parallel import torch_alone
from vssm.particles import Particles, check_count
from vssm.passes import Advance, Array, Output, Pass, Window, alike
from vssm.ssm import Stack
from vssm.state import State, StateError

if TYPE_CHECKING:
    from vssm.model import VSSM

MAX_TEMPERATURE = 10.0
WARM_UP_STEPS, LONGEST_WARM_UP = 256, 1024  # enough for every thread to get some


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
    if "scale" in tensors:
        tensors["scale"] = scaling.initial(num_samples, model.config.size)
    return State(model.fingerprint, seed, 0, True, tensors)


def scaled(model: VSSM, state: State, observed: Array) -> State:
    """The state with the scale of `observed` (steps, size), the whole prefix that it is about to observe.

    Only a sequence at its start takes a scale, and only from a model that is scaled by its prefix; any other state
    comes back as it is. It is done before the first window, since a prefix may be cut into several.
    """
    if model.config.scaling == "none" or state.position or not len(observed):
        return state
    scale = torch.from_numpy(scaling.measure(observed)).repeat(state.num_samples, 1)
    return replace(state, tensors={**state.tensors, "scale": scale})


def _state_shapes(model: VSSM) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(model.encoder, Stack):
        shapes["encoder"] = model.encoder.state_shape
    if model.noise_size:
        shapes["noise"] = (model.noise_size,)
    if model.config.scaling != "none":
        shapes["scale"] = (2 * model.config.size,)
    if model.past is not None:
        shapes |= {"past": model.past.stack.state_shape, "recent": (model.past.config.reach, model.config.size)}
    return shapes | {f"level{k}": level.stack.state_shape for k, level in enumerate(model.levels)}


def warm_up(model: VSSM) -> None:
    """Compiles and allocates whatever a pass may need: few and many rows, observed and generated steps."""
    shapes = [(1, 1), (1, WARM_UP_STEPS), (WARM_UP_STEPS, 1)]
    if model.device.type == "cuda":  # a graph for each bucket of shapes that whole sequences need
        shapes += [(samples, min(model.config.length, LONGEST_WARM_UP)) for samples in (1, 8, 64)]
    for samples, steps in shapes:
        window = Window(start(model, samples, 0), steps)
        made = advance(model, [window, replace(window, encode=False, output="mean")])[0]
        if model.takes_prefix != "none":
            advance(model, [replace(window, observed=made.values[0])])


def advance(model: VSSM, windows: Sequence[Window]) -> list[Advance]:
    """Advance each window's sequences; results in the order of `windows`.

    Any mixture of lengths, seeds, positions and options may be given together. Raises StateError or ObservationError
    before anything runs.
    """
    for window in windows:
        _check(model, window)
    results: dict[int, Advance] = {}
    with torch.no_grad(), torch_alone():
        for group in _alike(model, windows):
            passed = Pass(model, model.networks, [windows[i] for i in group]).run()
            results.update(zip(group, passed, strict=True))
    return [results[i] for i in range(len(windows))]


def _alike(model: VSSM, windows: Sequence[Window]) -> list[list[int]]:
    """Indices of windows that do the same."""
    groups: dict[Kind, list[int]] = {}
    for i, window in enumerate(windows):
        groups.setdefault(alike(model, window), []).append(i)
    return list(groups.values())


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
    if window.particles is not None and (window.observed is None or window.particles.state is not state):
        raise ValueError("a window with particles has their state, and observes; Particles.window makes it")
    if window.particles is not None and model.max_particles == 1:
        raise ObservationError("num_particles is not possible with this kind of model; leave it out")
    if window.observed is not None:
        _check_prefix(model, state.position)
        if not state.encoder:
            raise StateError("this state cannot take observed steps: steps were generated without keeping the encoder")
        if window.observed.shape != (window.length, model.config.size):
            raise ObservationError(
                f"observed values must be of shape {(window.length, model.config.size)}, not {window.observed.shape}"
            )


def _check_prefix(model: VSSM, position: int) -> None:
    if model.takes_prefix == "anywhere":
        return
    if model.takes_prefix == "none":
        raise ObservationError(
            "a prefix needs a model with a causal encoder, or a bidirectional one trained with cut_prefixes; "
            "this one's is bidirectional and knows only whole sequences"
        )
    if position:
        raise ObservationError(
            f"this model's encoder is bidirectional: it reads a prefix as a whole, from the first step on, and at "
            f"position {position} takes no observed steps any more; begin anew with all observed steps as one prefix"
        )


# -- one request at a time: what `VSSM` offers --------------------------------------------------------------------


def condition(
    model: VSSM, prefix: Any, num_samples: int, seed: int, state: State | None, num_particles: int = 1
) -> State:
    """The state after observing `prefix` (steps, size)."""
    check_count(num_particles)
    state = start(model, num_samples, seed) if state is None else state
    observed = model.check_observed(prefix)
    if not len(observed):
        return state
    state = scaled(model, state, observed)
    if num_particles > 1:
        particles = Particles.of(state, num_particles)
        return particles.after(_finite(advance(model, [particles.window(observed)])[0])).choose()
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
    encode: bool = True,
    num_particles: int = 1,
    max_passes: int | None = None,
) -> Iterator[Generated]:
    """Chunks of at most `chunk_steps` generated steps, each with its state; of whole windows of passes."""
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
    check_count(num_particles)
    if prefix is None and num_particles > 1:
        raise ValueError("num_particles are for observing a prefix; leave it out, or give a prefix")
    if prefix is not None:
        state = condition(model, prefix, state.num_samples, state.seed, state, num_particles)
    remaining = length if length is not None else max(0, model.config.length - state.position)
    if remaining < 1:
        raise ValueError(
            f"length must be at least 1, not {remaining}; give one, since position {state.position} is past the end"
            if length is None
            else f"length must be at least 1, not {length}"
        )
    budget = None if max_passes is None else model.budget(max_passes, remaining)
    whole = budget.segment if budget else model.steps_a_pass
    while remaining:
        most = max(whole, chunk_steps) if budget else chunk_steps
        steps = min(most - most % whole or most, remaining)
        window = Window(state, steps, None, temperature, output, encode, budget=budget)
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
    encode: bool,
    num_particles: int,
    max_passes: int | None,
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
            encode=encode,
            num_particles=num_particles,
            max_passes=max_passes,
        )
    )
    values = np.concatenate([c.values for c in chunks], axis=1)
    passes = [chunk.passes for chunk in chunks if chunk.passes is not None]
    return Advance(values, chunks[-1].state, passes=np.sum(passes, axis=0) if passes else None)
