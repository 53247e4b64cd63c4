"""Heavy tails: density and samples as scipy has them, exact bits, gradients far out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.vssm.observations.heads import counters, ones, student
from vssm.observations import ObservationError
from vssm.observations.bailey import student_noise, student_noise_reference

FREEDOM = (2.2, 3.0, 4.7, 30.0, 2000.0)


def test_density_is_that_of_scipy() -> None:
    model = student(*FREEDOM).double()
    params, x = torch.randn(2, 3, 5, 2, dtype=torch.float64), 4 * torch.randn(2, 3, 5, dtype=torch.float64)
    location, scale = params[..., 0].numpy(), params[..., 1].exp().numpy()
    expected = stats.t.logpdf(x.numpy(), model.degrees_of_freedom().numpy(), location, scale).sum(-1)
    np.testing.assert_allclose(model.log_prob(params, x).numpy(), expected, rtol=1e-9)


def test_samples_follow_the_density() -> None:
    model, rows = student(*FREEDOM), 20_000
    params = torch.tensor([0.5, -1.0]).expand(rows, 1, 5, 2)
    drawn = model.sample(params, counters(rows), ones(rows))[:, 0].numpy()
    for column, freedom in zip(drawn.T, FREEDOM, strict=True):
        assert stats.kstest(column, stats.t(freedom, 0.5, np.exp(-1.0)).cdf).pvalue > 1e-3
    assert np.abs(stats.spearmanr(drawn).statistic - np.eye(5)).max() < 0.04  # channels know nothing of each other


@given(seed=st.integers(0, 2**30), rows=st.integers(1, 50), steps=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_the_compiled_noise_is_the_reference(seed: int, rows: int, steps: int) -> None:
    words = torch.randint(0, 2**32, (rows, steps, 10), generator=torch.Generator().manual_seed(seed))
    words[0, 0, :3] = torch.tensor([0, 2**32 - 1, 2**31])
    made = student_noise(words, torch.tensor(FREEDOM))
    assert torch.equal(made, student_noise_reference(words, torch.tensor(FREEDOM)))
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("log_scale", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("x", [-1e6, 0.0, 1e6])
def test_extremes_are_finite_and_have_a_gradient(x: float, log_scale: float) -> None:
    model = student(2.2, 2000.0).requires_grad_(True)
    params = torch.tensor([0.0, log_scale]).expand(1, 1, 2, 2).clone().requires_grad_(True)
    log_prob = model.log_prob(params, torch.full((1, 1, 2), x))
    gradients = torch.autograd.grad(log_prob.sum(), [params, model.log_freedom])
    assert torch.isfinite(log_prob).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_temperature_zero_and_mean_are_the_location() -> None:
    model, params = student(3.0, 4.0), torch.randn(3, 2, 2, 2)
    assert torch.equal(model.sample(params, counters(3), torch.zeros(3)), params[..., 0])
    assert torch.equal(model.mean(params, ones(3)), params[..., 0])


def test_numbers_too_large_are_refused() -> None:
    with pytest.raises(ObservationError, match="between -1e\\+06 and 1e\\+06"):
        student(3.0).check([[2e6]])
