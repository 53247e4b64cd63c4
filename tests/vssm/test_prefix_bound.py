"""The conditional bound against exact densities: of generation's own distribution, and of the model's conditional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.vssm.models import build
from tests.vssm.test_kalman import LEVEL, STEPS, ExactEncoder, data, exact, linear_model, log_scale
from vssm import VSSM, baselines
from vssm.baselines.config import TransformerConfig
from vssm.latents import Draw
from vssm.prefix_bound import conditional_bound, conditional_log_likelihood

CUT = 4
ENCODERS: dict[str, dict[str, Any]] = {
    "causal": {"kind": "causal", "width": 8, "state": 4, "layers": 1},
    "bidirectional": {"kind": "bidirectional", "width": 8, "state": 4, "layers": 1, "prefixes": True},
}


def blind_model(encoder: str, noise: float = 0.4) -> VSSM:
    """Linear-Gaussian, and q(z_t | x) does not depend on other latents: the path's distribution has a closed form."""
    decoder = {"width": 3, "state": 2, "linear": True}
    model = build("series", 1, levels=[LEVEL], decoder=decoder, encoder=ENCODERS[encoder]).double()
    log_scale(model).fill_(noise)
    weight, bias = list(model.levels[0].latent.posterior_net.parameters())[-2:]
    weight.data[0] *= 3.0  # the mean depends on what the encoder sees
    bias.data[:] = torch.tensor([0.8, 0.1])
    return model


def density_of_generation(model: VSSM, x: Tensor) -> Tensor:
    """log g(rest | prefix): latents N(m, s^2) in the prefix and N(0, 1) behind it, through the decoder, plus noise."""
    flat = model.decode([torch.eye(STEPS, dtype=torch.float64)[:, :, None]])[..., 0].flatten(1)  # (T, T * size)
    base = model.decode([torch.zeros(1, STEPS, 1, dtype=torch.float64)])[..., 0].flatten(1)
    rest = slice(CUT * model.config.size, None)
    matrix = (flat - base).T[rest]
    params = model.levels[0].latent.posterior_net(model.encode(x[:, :CUT], None))
    found = []
    for row, (mean, scale) in zip(x, zip(params[..., 0], params[..., 1].exp(), strict=True), strict=True):
        behind = torch.zeros(STEPS - CUT, dtype=torch.float64)
        variance = torch.cat([scale**2, behind + 1])
        covariance = matrix * variance @ matrix.T + torch.diag(torch.exp(2 * log_scale(model)).repeat(STEPS - CUT))
        centre = base[0, rest] + matrix @ torch.cat([mean, behind])
        normal = stats.multivariate_normal(centre.numpy(), covariance.numpy())
        found.append(normal.logpdf(row.flatten()[rest].numpy()))
    return torch.from_numpy(np.array(found))


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_the_bound_rises_to_the_density_of_generation(encoder: str) -> None:
    model = blind_model(encoder)
    x = data(model, 8)
    truth, generator = density_of_generation(model, x), torch.Generator().manual_seed(0)
    draws = torch.stack([conditional_bound(model, x, CUT, num_paths=2, generator=generator) for _ in range(200)])
    error = draws.std(0) / 200**0.5
    assert (draws.mean(0) < truth + 4 * error).all()
    assert draws.mean() < truth.mean() - 0.01
    many = conditional_bound(model, x, CUT, num_paths=30_000, generator=generator)
    assert (many - truth).abs().mean() < 0.04


def test_the_path_through_the_prefix_does_not_see_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = blind_model("bidirectional"), []
    infer_from = model.infer_from

    def spy(e: Tensor, noise: Sequence[Tensor]) -> tuple[list[Draw], Tensor]:
        seen.append(e)
        return infer_from(e, noise)

    x = data(model, 3)
    monkeypatch.setattr(model, "infer_from", spy)
    conditional_bound(model, x, CUT, num_paths=1)
    assert torch.equal(seen[0][:, :CUT], model.encode(x[:, :CUT], None))
    assert torch.equal(seen[0][:, CUT:], model.encode(x, None)[:, CUT:])


def conditional(model: VSSM, x: Tensor) -> Tensor:
    """The exact log p(rest | prefix)."""
    return exact(model, x) - exact(model, x[:, :CUT])


def test_with_the_exact_posterior_it_is_the_conditional_likelihood() -> None:
    model = linear_model(0)
    twin = ExactEncoder(model.config).double()
    twin.load_state_dict(model.state_dict())
    x = data(model, 8)
    bound = conditional_bound(twin, x, CUT, num_paths=30_000, generator=torch.Generator().manual_seed(0))
    assert (bound - conditional(model, x)).abs().max() < 0.05


def test_more_particles_are_nearer_to_the_conditional_likelihood() -> None:
    model = blind_model("causal", noise=0.0)
    x = data(model, 20)
    truth, generator = conditional(model, x), torch.Generator().manual_seed(0)
    gaps = [
        float((truth - conditional_bound(model, x, CUT, num_paths=500, num_particles=k, generator=generator)).mean())
        for k in (1, 64)
    ]
    assert gaps[0] > 0.05  # the control: the encoder alone loses something
    assert abs(gaps[1]) < 0.3 * gaps[0]


def test_a_rival_has_its_exact_conditional() -> None:
    shape = {"length": 9, "size": 2, "observation": {"kind": "bernoulli"}}
    config = TransformerConfig.model_validate(
        {**shape, "family": "transformer", "width": 8, "hidden": 8, "heads": 2, "layers": 1}
    )
    model = baselines.build(config).eval()
    x = torch.randint(0, 2, (5, 9, 2), generator=torch.Generator().manual_seed(0))
    expected = model.log_likelihood(x) - model.log_likelihood(x[:, :4])
    assert torch.allclose(conditional_log_likelihood(model, x, 4).float(), expected, atol=1e-4)


@pytest.mark.parametrize("cut", [0, STEPS, -1])
def test_a_cut_needs_two_sides(cut: int) -> None:
    with pytest.raises(ValueError, match="cut must be from 1 to 5"):
        conditional_bound(linear_model(0), torch.zeros(1, STEPS, 2), cut)


def test_models_without_prefixes_are_refused() -> None:
    model = build("series", encoder={**ENCODERS["bidirectional"], "prefixes": False})
    with pytest.raises(ValueError, match="takes no prefix"):
        conditional_bound(model, torch.zeros(1, 5, 2), 2)
    with pytest.raises(ValueError, match="num_paths"):
        conditional_bound(build("series"), torch.zeros(1, 5, 2), 2, num_paths=0)
