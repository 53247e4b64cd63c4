"""Weights of particles: those of the bounds, and the same bits in any company."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.vssm.models import KINDS, WEIGHED, build
from vssm import VSSM, weights
from vssm.networks import ReferenceNetworks
from vssm.observations import ObservationError

MODELS = {kind: build(kind) for kind in KINDS}
WIDE = {kind: build(kind).double() for kind in KINDS}


def terms(model: VSSM, x: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
    """log p(x_t | z) and the sum of log q - log p over the levels (B, T), from one pass over whole sequences."""
    networks, e, d = ReferenceNetworks(model), model.encode(x, model.gaussian_noise(noise)), None
    ratio = torch.zeros(x.shape[:2], dtype=torch.float64)
    for k, level in enumerate(model.levels):
        params = networks.posterior_params(k, e, d), networks.prior_params(k, d)
        z = level.latent.posterior(e, d, noise[k]).z
        ratio = ratio + weights.log_ratio(level.latent, z, noise[k], *params)
        d, _ = level.decode(z, d, level.stack.start(len(x), z))
    assert d is not None
    return weights.log_prob(model.observation, model.observation.params(d), x), ratio


@pytest.mark.parametrize("kind", WEIGHED)
def test_terms_are_those_of_the_importance_weights(kind: str) -> None:
    model = WIDE[kind]
    x = torch.from_numpy(MODELS[kind].generate(num_samples=6, length=9, seed=3).values)
    noise = model.draw_noise(x, torch.Generator().manual_seed(0))
    log_prob, ratio = terms(model, x, noise)
    draws, d = model.infer(x, noise)
    expected = model.observation.log_prob(model.params(x, d), x)
    torch.testing.assert_close(log_prob, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ratio, sum(draw.log_ratio for draw in draws), rtol=1e-12, atol=1e-12)


@given(data=st.data(), kind=st.sampled_from(WEIGHED), rows=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_bits_do_not_depend_on_the_rows_beside(data: st.DataObject, kind: str, rows: int) -> None:
    observation, latent = MODELS[kind].observation, MODELS[kind].levels[-1].latent
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    params = 3 * torch.randn(rows, 3, *observation.params_shape, generator=generator)
    x = torch.randint(0, 2, (rows, 3, observation.size), generator=generator).to(observation.dtype)
    noise = latent.draw_noise((rows, 3), params, generator)
    z = latent.prior(None, noise)
    posterior = torch.randn(rows, 3, 2 * latent.size, generator=generator)[..., : latent.size * 2]
    posterior = posterior if latent.noise_kind == "normal" else posterior[..., : latent.size]
    prior = torch.randn(posterior.shape, generator=generator)
    log_prob = weights.log_prob(observation, params, x)
    ratio = weights.log_ratio(latent, z, noise, posterior, prior)
    for r in range(rows):
        one = slice(r, r + 1)
        assert torch.equal(weights.log_prob(observation, params[one], x[one])[0], log_prob[r])
        alone = weights.log_ratio(latent, z[one], noise[one], posterior[one], prior[one])[0]
        assert torch.equal(alone, ratio[r])


@given(size=st.integers(0, 70))
def test_sums_have_one_order(size: int) -> None:
    x = torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    assert weights.exact_sum(x).tolist() == [in_halves(row) for row in x.tolist()]


def in_halves(numbers: list[float]) -> float:
    while len(numbers) > 1:
        half = (len(numbers) + 1) // 2
        upper = numbers[half:]
        numbers = [a + b for a, b in zip(numbers, upper, strict=False)] + numbers[len(upper) : half]
    return sum(numbers)


def test_unlikely_classes_keep_their_weight() -> None:
    logits = torch.tensor([0.0, -300.0, -10.0], dtype=torch.float64)
    torch.testing.assert_close(weights.log_softmax(logits), logits.log_softmax(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(WEIGHED)))
def test_kinds_without_weights_say_so(kind: str) -> None:
    prefix = MODELS[kind].generate(length=3).values[0]
    with pytest.raises(ObservationError, match="num_particles is not possible with"):
        MODELS[kind].generate(prefix=prefix, num_particles=2)
