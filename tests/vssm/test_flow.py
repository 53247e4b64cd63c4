"""A flow goes both ways, and its density is that of the change of variables."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vssm.models import build
from vssm.config import GaussianLevel
from vssm.flow import Flow
from vssm.latents import GaussianLatent


def random_flow(seed: int, half: int, couplings: int, width: int) -> Flow:
    torch.manual_seed(seed)
    flow = Flow(2 * half, couplings, width, 8).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return flow.requires_grad_(False)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 5), st.sampled_from([0, 3]))
def test_the_inverse_undoes_it_and_knows_its_volume(seed: int, half: int, couplings: int, width: int) -> None:
    flow = random_flow(seed, half, couplings, width)
    eps = torch.randn(2 * half, dtype=torch.float64)
    d = torch.randn(width, dtype=torch.float64) if width else None
    z = flow(eps, d)
    again, log_scales = flow.inverse(z, d)
    assert torch.allclose(again, eps, atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(lambda e: flow(e, d), eps)  # type: ignore[no-untyped-call]
    assert log_scales.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-8)


def test_the_density_of_a_small_flow_integrates_to_one() -> None:
    flow = random_flow(1, 1, 4, 0)
    axis = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    eps, log_scales = flow.inverse(z, None)
    log_density = -0.5 * (eps * eps).sum(-1) - math.log(2 * math.pi) - log_scales
    assert float(log_density.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_without_moved_couplings_is_the_gaussian_one(level: int) -> None:
    """With maps that do nothing the one-draw KL has the closed form's mean."""
    model = build("flow").double()
    latent = cast(GaussianLatent, model.levels[level].latent)
    assert latent.flow is not None
    for parameter in latent.flow.parameters():
        parameter.zero_()
    e = torch.randn(1, 1, 16, dtype=torch.float64).expand(20000, 1, 16)
    d = torch.randn(1, 1, 16, dtype=torch.float64).expand(20000, 1, 16) if level else None
    noise = torch.randn(20000, 1, 6, dtype=torch.float64)
    with_flow = latent.posterior(e, d, noise)
    latent.flow = None
    closed = latent.posterior(e, d, noise)
    assert torch.allclose(with_flow.log_ratio, closed.log_ratio)
    error = with_flow.kl.std() / math.sqrt(20000)
    assert abs(with_flow.kl.mean() - closed.kl.mean()) < 5 * error


def test_halves_must_be_equal() -> None:
    with pytest.raises(ValueError, match="even size"):
        GaussianLevel(size=5, couplings=2)
