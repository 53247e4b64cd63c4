"""Particles: one is today's path, many are nearer to the exact posterior, and no bit depends on cuts or company."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.vssm.models import WEIGHED, build
from tests.vssm.test_generation import MODELS, cut, same
from tests.vssm.test_kalman import LEVEL, STEPS, exact_posterior
from vssm import VSSM, State, Window
from vssm.noise import Counters, particle
from vssm.particles import Particles


def through(model: VSSM, particles: Particles, observed: Any, parts: list[int]) -> Particles:
    """Observe in windows of the given lengths, each beside a stranger of its own length."""
    for n, start in zip(parts, np.cumsum([0, *parts]), strict=False):
        given = observed[start : start + n]
        stranger = Particles.of(model.start(2, n), 3).window(observed[: 1 + n // 2])
        particles = particles.after(model.advance([stranger, particles.window(given)])[1])
    return particles


@given(
    data=st.data(), kind=st.sampled_from(WEIGHED), count=st.integers(2, 9), steps=st.integers(1, 40),
    samples=st.integers(1, 4), before=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_cuts_and_strangers_change_nothing(
    data: st.DataObject, kind: str, count: int, steps: int, samples: int, before: bool
) -> None:
    model = MODELS[kind]
    observed = model.generate(length=steps, seed=99).values[0]
    state = model.start(samples, 4)
    state = model.generate(state=state, length=7).state if before else state
    whole = model.condition(observed, state=state, num_particles=count)
    begun = Particles.of(model.scaled(state, observed), count)
    particles = through(model, begun, observed, cut(data, steps))
    assert same(particles.choose(), whole)
    assert whole.num_samples == samples
    assert State.from_bytes(whole.to_bytes()).position == state.position + steps


@pytest.mark.parametrize("kind", WEIGHED)
def test_particle_zero_is_the_path_without_particles(kind: str) -> None:
    model = MODELS[kind]
    observed = model.generate(length=20, seed=99).values[0]
    plain = model.condition(observed, num_samples=3, seed=5)
    assert same(model.condition(observed, num_samples=3, seed=5, num_particles=1), plain)
    begun = model.scaled(model.start(3, 5), observed)
    particles = through(model, Particles.of(begun, 4), observed, [20])
    first = {name: tensor[::4] for name, tensor in particles.state.tensors.items()}
    assert same(replace(particles.state, tensors=first), plain)
    assert len(np.unique(particles.log_weight)) == 12


def test_a_weight_is_that_of_the_path() -> None:
    """The importance weight of the whole pass, for the noise that each particle has."""
    model = MODELS["rows"]
    observed = model.generate(length=9, seed=99).values[0]
    particles = through(model, Particles.of(model.start(2, 5), 3), observed, [4, 5])
    sample = particle(torch.arange(6) // 3, torch.arange(6) % 3)
    counters = Counters(torch.full((6,), 5), sample, torch.zeros(6, dtype=torch.int64))
    noise = [counters.draw("normal", 32 + k, 9, level.latent.size) for k, level in enumerate(model.levels)]
    expected = model.log_weight(torch.from_numpy(observed).expand(6, -1, -1), noise)
    np.testing.assert_allclose(particles.log_weight, expected.numpy(), rtol=1e-5)


def test_the_choice_follows_the_weights() -> None:
    model = MODELS["pixels"]
    particles = Particles.of(replace(model.start(20_000, 1), position=3), 3)
    mark = torch.arange(60_000).float()[:, None, None].expand_as(particles.state.tensors["level0"])
    particles = replace(
        particles,
        state=replace(particles.state, tensors={"level0": mark}),
        log_weight=np.tile(np.log([0.5, 0.3, 0.2]), 20_000) - 1000.0,
    )
    chosen = particles.choose().tensors["level0"][:, 0, 0].long()
    assert torch.equal(chosen // 3, torch.arange(20_000))
    share = torch.bincount(chosen % 3, minlength=3) / 20_000
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.2]), atol=0.015)  # four standard errors


def predicted_and_exact(num_particles: int) -> tuple[Tensor, Tensor]:
    """E[x_6 | x_1..5] as generation has it, with an encoder that is far off, and exactly."""
    model = build("series", 1, levels=[LEVEL], decoder={"width": 3, "state": 2, "linear": True})
    scale, encoder = model.observation.log_scale, model.levels[0].latent.posterior_net
    assert isinstance(scale, Tensor)
    scale.fill_(1.0)
    list(encoder.parameters())[-1].data[0] += 0.7  # the mean's bias
    x = model.generate(length=STEPS, seed=2).values[0]
    cut_at = STEPS - 1
    wide = build("series", 1, levels=[LEVEL], decoder={"width": 3, "state": 2, "linear": True}).double()
    wide.load_state_dict(model.state_dict())
    known = torch.from_numpy(x[None]).double()
    mean, _ = exact_posterior(wide, known, cut_at)
    expected = wide.decode([torch.cat([mean, torch.zeros(1, 1)], dim=1)[..., None]])[0, -1, :, 0]
    made = model.generate(
        prefix=x[:cut_at], length=1, num_samples=4000, seed=3, output="mean", num_particles=num_particles
    )
    return torch.from_numpy(made.values[:, 0]).double().mean(0), expected


def test_more_particles_are_nearer_to_the_exact_prediction() -> None:
    errors = [float((found - exact).abs().max()) for found, exact in map(predicted_and_exact, (1, 64))]
    assert errors[0] > 0.2  # the control: the encoder alone is wrong
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_wrong_number_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="num_particles must be from 1 to 64"):
        MODELS["rows"].condition(np.zeros((1, 7)), num_particles=count)


def test_particles_without_a_prefix_are_refused() -> None:
    with pytest.raises(ValueError, match="or give a prefix"):
        MODELS["rows"].generate(num_particles=2)
    window = Particles.of(MODELS["rows"].start(1, 0), 2).window(np.zeros((1, 7), np.uint8))
    with pytest.raises(ValueError, match=r"Particles\.window"):
        MODELS["rows"].advance([replace(window, observed=None)])
    with pytest.raises(ValueError, match="below"):
        Particles.of(State("", 0, 0, True, {"x": torch.zeros(1).expand(2**31)}), 2)


def test_windows_with_and_without_particles_share_a_call() -> None:
    model = MODELS["rows"]
    observed = np.zeros((5, 7), np.uint8)
    plain = Window(model.start(2, 1), 5, observed)
    together = model.advance([plain, Particles.of(model.start(2, 2), 4).window(observed)])
    assert same(together[0].state, model.advance([plain])[0].state)
    assert together[0].log_weight is None
    assert together[1].log_weight is not None
