"""One block of a pass: every row through the networks for a few steps, as a pure function of tensors.

    x  observed values  (R, T, size)      e  encoder features  (R, T, E)      state  (R, ...) by name
    last  (R,) each row's last step: its state is that after it; what comes later is computed and left

Every row's values are its own. Knows nothing of windows or sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vssm import solve, weights
from vssm.networks import Networks
from vssm.noise import Counters, Purpose
from vssm.scaling import normalise, restore

if TYPE_CHECKING:
    from vssm.model import VSSM


class Kind(NamedTuple):
    """What a block does: observes or generates, keeps its encoder up to date, gets its features, weighs particles.

    A `budget` is of a decoder that reads earlier values: how many passes it may take.
    """

    observing: bool
    encoding: bool
    reading: bool
    weighing: bool
    budget: solve.Budget | None = None


@dataclass(frozen=True)
class Block:
    """What one block made of its rows: values and, where asked for, expected values (R, T, size); the state.

    `finite` (R,) says whose distributions and state are. `weight` (R, T) float64: each step's part of the log weights.
    `passes` (R,) int64: how often the stack of a decoder that reads earlier values went over the row.
    """

    values: Tensor | None
    mean: Tensor | None
    finite: Tensor
    state: dict[str, Tensor]
    weight: Tensor | None = None
    passes: Tensor | None = None


def compute(
    model: VSSM,
    networks: Networks,
    kind: Kind,
    mean: bool,
    inputs: dict[str, Tensor],
    steps: int,
) -> dict[str, Tensor]:
    """A block as a pure function of tensors by their names, which may become a graph."""
    counters = Counters(inputs["seed"], inputs["sample"], inputs["position"])
    state = {k.removeprefix("state "): v for k, v in inputs.items() if k.startswith("state ")}
    last, temperature = inputs["last"], inputs["temperature"]
    if kind.observing:
        block = observe(model, networks, counters, inputs["x"], inputs.get("e"), state, last, kind.weighing)
    else:
        block = generate(model, networks, counters, temperature, state, last, steps, mean, kind)
    made = {"values": block.values, "mean": block.mean, "finite": block.finite}
    made |= {"weight": block.weight, "passes": block.passes}
    return {k: v for k, v in made.items() if v is not None} | {f"state {k}": v for k, v in block.state.items()}


def observe(
    model: VSSM,
    networks: Networks,
    counters: Counters,
    x: Tensor,
    e: Tensor | None,
    state: dict[str, Tensor],
    last: Tensor,
    weigh: bool,
) -> Block:
    """The state after observed values x (R, T, size), of which e are the features if the encoder has no state."""
    x = normalise(x, state["scale"]) if "scale" in state else x
    noise = _noise(model, counters, Purpose.POSTERIOR, x.shape[1])
    seen, state = model.gaussian_noise(noise), dict(state)
    if e is None and model.levels:
        features = model.encoder_features(x, seen, state.get("noise"))
        e, state["encoder"] = networks.encode(features, state["encoder"], last)
    d: Tensor | None = None
    ratios: list[Tensor] = []
    for k, level in enumerate(model.levels):
        assert e is not None
        z = networks.posterior(k, e, d, noise[k])
        if weigh:  # before `decode`, which may overwrite d
            params = networks.posterior_params(k, e, d), networks.prior_params(k, d)
            ratios.append(weights.log_ratio(level.latent, z, noise[k], *params))
        d, state[f"level{k}"] = networks.decode(k, z, d, state[f"level{k}"], last)
    if model.past is not None:
        state |= solve.observe(model, networks, counters.position, x, d, state, last)
    state = _with_noise(state, seen, last)
    if not weigh:
        return Block(None, None, _finite(state), state)
    assert d is not None
    weight = weights.log_prob(model.observation, networks.params(d), x) - sum(ratios)
    return Block(None, None, _finite(state), state, weight)


def generate(
    model: VSSM,
    networks: Networks,
    counters: Counters,
    temperature: Tensor,
    state: dict[str, Tensor],
    last: Tensor,
    steps: int,
    mean: bool,
    kind: Kind,
) -> Block:
    """`steps` generated steps of every row; `last` (R,) is each row's last step, `temperature` (R,)."""
    noise = _noise(model, counters, Purpose.PRIOR, steps)
    seen, state = model.gaussian_noise(noise), dict(state)
    d: Tensor | None = None
    for k in range(len(model.levels)):
        z = networks.prior(k, d, noise[k])
        d, state[f"level{k}"] = networks.decode(k, z, d, state[f"level{k}"], last)
    passes: Tensor | None = None
    if model.past is None:
        assert d is not None
        params = networks.params(d)
        values = model.observation.sample(params, counters, temperature)
    else:
        outsourced = model.observation.draw_noise(counters, steps, temperature)
        solved = solve.solve(model, networks, counters.position, outsourced, d, state, last, kind.budget)
        params, values, passes = solved.params, solved.values, solved.passes
        state |= solved.state
    if kind.encoding:
        features = model.encoder_features(values, seen, state.get("noise"))
        _, state["encoder"] = networks.encode(features, state["encoder"], last)
    within = torch.arange(steps, device=last.device) <= last[:, None]
    finite = ((params * 0).flatten(2).sum(2).eq(0) >= within).all(1)
    expected = model.observation.mean(params, temperature) if mean else None
    if "scale" in state:
        values = restore(values, state["scale"])
        expected = None if expected is None else restore(expected, state["scale"])
        finite &= ((values * 0).sum(2).eq(0) >= within).all(1)
    state = _with_noise(state, seen, last)
    return Block(values, expected, finite & _finite(state), state, passes=passes)


def _finite(state: dict[str, Tensor]) -> Tensor:
    """Whose state (R,) is."""
    everything = torch.cat([tensor.flatten(1) for tensor in state.values()], dim=1)
    return (everything * 0).sum(1) == 0  # NaN and infinity do not become zero


def _noise(model: VSSM, counters: Counters, purpose: Purpose, steps: int) -> list[Tensor]:
    """Base noise of every level (R, T, Z)."""
    latents = [level.latent for level in model.levels]
    return [counters.draw(v.noise_kind, purpose + k, steps, v.size) for k, v in enumerate(latents)]


def _with_noise(state: dict[str, Tensor], seen: Tensor | None, last: Tensor) -> dict[str, Tensor]:
    """The state with the noise of each row's last step, which an encoder that sees noise reads next."""
    return state if seen is None else {**state, "noise": seen[torch.arange(len(last), device=last.device), last]}
