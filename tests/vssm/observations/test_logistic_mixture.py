"""Pixels: probabilities that sum to one, a density as its definition reads, samples that follow it, exact bits."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from tests.vssm.observations.heads import counters, mixture, ones
from vssm.observations import ObservationError
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.observations.pixels import draw_pixels, draw_pixels_reference

SHAPES = [
    {"components": k, "channels": c, "levels": n, "context": context}
    for k, c, n, context in ((1, 1, 2, False), (3, 1, 5, True), (2, 3, 3, True), (2, 3, 2, False))
]


def every_step(model: LogisticMixtureObservation) -> Tensor:
    """All values that a step may have, (levels^size, 1, size)."""
    return torch.tensor(list(itertools.product(range(model.shape.levels), repeat=model.size)))[:, None]


def by_definition(model: LogisticMixtureObservation, p: np.ndarray[Any, Any], x: list[int]) -> float:
    """log p of one step in plain loops over distribution functions, for params p (P, W)."""
    shape, total = model.shape, 0.0
    K, C, L = shape.components, shape.channels, shape.levels
    y = (np.array(x) * 2.0 / (L - 1) - 1.0).reshape(-1, C)
    for i in range(len(y)):
        weights = np.exp(p[:K, i]) / np.exp(p[:K, i]).sum()
        links, context = p[K * (1 + 2 * C) :, i], p[len(p) - C * C :, i].reshape(C, C)
        density = 0.0
        for k in range(K):
            share = weights[k]
            for c in range(C):
                mean = p[K + c * K + k, i]
                if shape.context and i:
                    mean += context[c] @ y[i - 1]
                mean += sum(links[(c - 1 + j) * K + k] * y[i, j] for j in range(c))
                bins = stats.logistic(mean, np.exp(p[K + C * K + c * K + k, i]))
                upper = 1.0 if x[i * C + c] == L - 1 else bins.cdf(y[i, c] + 1.0 / (L - 1))
                lower = 0.0 if x[i * C + c] == 0 else bins.cdf(y[i, c] - 1.0 / (L - 1))
                share *= upper - lower
            density += share
        total += np.log(density)
    return float(total)


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_of_all_steps_sum_to_one(shape: dict[str, Any]) -> None:
    model = mixture(6, **shape).double()
    values = every_step(model)
    params = torch.randn(1, 1, *model.params_shape, dtype=torch.float64).expand(len(values), -1, -1, -1)
    assert model.log_prob(params, values).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**30))
@settings(max_examples=20, deadline=None)
def test_log_probability_is_its_definition(shape: dict[str, Any], seed: int) -> None:
    model = mixture(6, **{**shape, "levels": 256}).double()
    torch.manual_seed(seed)
    params = torch.randn(1, 1, *model.params_shape, dtype=torch.float64)
    x = [0, 255, *np.random.default_rng(seed).integers(0, 256, 4).tolist()]
    expected = by_definition(model, params[0, 0].numpy(), x)
    assert model.log_prob(params, torch.tensor([[x]])).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("scale", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("mean", [-50.0, 0.0, 50.0])
def test_extremes_are_finite_and_have_a_gradient(mean: float, scale: float) -> None:
    model = mixture(6)
    params = torch.zeros(1, 3, *model.params_shape)
    params[:, :, 5:20], params[:, :, 20:35] = mean, scale
    params.requires_grad_(True)
    log_prob = model.log_prob(params, torch.tensor([[[0] * 6, [255] * 6, [7, 0, 255, 128, 255, 0]]], dtype=torch.uint8))
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_samples_follow_the_probabilities(shape: dict[str, Any]) -> None:
    model, rows = mixture(3, **{**shape, "levels": 3}), 20_000
    torch.manual_seed(1)
    params = torch.randn(1, 1, *model.params_shape)
    values = every_step(model)
    expected = model.double().log_prob(params.double().expand(len(values), -1, -1, -1), values).exp()[:, 0]
    drawn = model.sample(params.expand(rows, -1, -1, -1), counters(rows), ones(rows))[:, 0].long()
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    assert stats.chisquare(counts.numpy(), rows * (expected / expected.sum()).numpy()).pvalue > 1e-3


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**30), rows=st.integers(1, 40), steps=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_compiled_loop_is_the_reference(shape: dict[str, Any], seed: int, rows: int, steps: int) -> None:
    model = mixture(12, **{**shape, "levels": 256})
    torch.manual_seed(seed)
    params = torch.randn(rows, steps, *model.params_shape)
    noise = model.draw_noise(counters(rows, seed), steps, ones(rows))
    compiled, reference = (draw(params, noise, model.shape) for draw in (draw_pixels, draw_pixels_reference))
    assert torch.equal(compiled, reference)
    assert compiled.min() < compiled.max()


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_is_the_average_of_samples(channels: int) -> None:
    model, rows = mixture(6, channels=channels, components=2), 20_000
    params = 0.2 * torch.randn(1, 1, *model.params_shape)
    params[:, :, 2 * (1 + channels) : 2 * (1 + 2 * channels)] -= 2.5  # narrow: ends cut nothing off
    many = params.expand(rows, -1, -1, -1)
    drawn = model.sample(many, counters(rows), ones(rows)).float()
    error = 5 * drawn.std(0) / rows**0.5
    assert ((drawn.mean(0) - model.mean(params, ones(1))[0]).abs() < error).all()


def test_temperature_zero_is_the_location_of_the_likeliest_component() -> None:
    model = mixture(6, context=False)
    params = torch.zeros(2, 1, *model.params_shape)
    params[:, :, 3], params[:, :, 5:20] = 1.0, -1.0
    params[:, :, [8, 13, 18]] = 0.2  # of the fourth component
    drawn = model.sample(params, counters(2), torch.zeros(2))
    assert drawn.flatten().tolist() == [153] * 12  # (0.2 + 1) * 127.5


def test_at_first_a_pixel_is_about_the_one_before() -> None:
    model = mixture(96)
    params = model.params(torch.randn(4, 3, 8))
    context = torch.unflatten(params[:, :, -9:], 2, (3, 3)).movedim(-1, 2)
    changes = 0.8 * torch.eye(3) - 0.64 * torch.diag(torch.ones(2), -1)  # those of the channel before are in the links
    assert (context - changes).abs().max() < 0.2
    links = torch.unflatten(params[:, :, -24:-9], 2, (3, 5)).mean((0, 1, 3, 4))
    assert (links - torch.tensor([0.8, 0.0, 0.8])).abs().max() < 0.2


def test_levels_are_scaled_for_the_encoder_and_described() -> None:
    model = mixture(3)
    assert model.embed(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8))[0, 0].tolist() == pytest.approx([-1, -0.6, 1])
    described = {"kind": "logistic_mixture", "classes": 256, "low": 0, "high": 255, "dtype": "uint8"}
    assert model.describe() == described


@pytest.mark.parametrize("wrong", [256, -1, 0.5])
def test_other_than_levels_are_refused(wrong: float) -> None:
    with pytest.raises(ObservationError, match="whole numbers from 0 to 255"):
        mixture(3).check([[0, 255, wrong]])
