"""Bounds: shapes, gradients, their order, exact sums on tiny alphabets, and configurations that make no sense."""

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from tests.vssm.models import ENCODED, KINDS, build, config
from vssm import VSSM


def observations(model: VSSM, batch: int, steps: int) -> torch.Tensor:
    return torch.as_tensor(model.generate(num_samples=batch, length=steps, seed=3).values)


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_every_parameter_gets_a_gradient_from_the_bound(kind: str, encoder: str) -> None:
    settings = {"kind": encoder, "width": 16, "state": 6, "layers": 2, "sees_noise": encoder == "causal"}
    model = build(kind, encoder=settings).requires_grad_(True)
    x = observations(model, 3, 10)
    bound = model.elbo(x)
    assert bound.nats.shape == (3,)
    assert bound.kl.shape == (3, len(model.levels))
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(-bound.objective.mean(), parameters, allow_unused=True)
    missing = [n for n, g in zip(names, gradients, strict=True) if g is None or not torch.isfinite(g).all()]
    assert missing == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_more_importance_samples_tighten_the_bound(kind: str) -> None:
    model = build(kind)
    x = observations(model, 64, 10)
    elbo = torch.stack([model.elbo(x, torch.Generator().manual_seed(k)).nats for k in range(40)]).mean()
    means = [model.log_likelihood(x, k, torch.Generator().manual_seed(1)).mean() for k in (10, 200)]
    assert elbo < means[0] + 0.05
    assert means[0] < means[1] + 0.05


def test_free_bits_and_kl_weight_change_only_the_objective() -> None:
    model = build("rows")
    x = observations(model, 5, 10)
    plain, other = (
        model.elbo(x, torch.Generator().manual_seed(0), free_bits=f, kl_weight=w) for f, w in ((0.0, 1.0), (0.5, 0.3))
    )
    assert torch.equal(plain.nats, other.nats)
    assert torch.allclose(plain.objective, plain.nats)
    assert not torch.allclose(other.objective, plain.objective)


def test_bound_meets_the_likelihood_found_by_enumerating_all_latents() -> None:
    """Two steps of one three-class latent: p(x) is a sum over nine paths; the bound converges to it."""
    level = {"kind": "categorical", "groups": 1, "classes": 3, "layers": 1}
    model = build("pixels", levels=[level]).double()
    x = torch.tensor([[[0], [1]], [[1], [1]], [[0], [0]], [[1], [0]]])
    likelihood = torch.zeros(4, dtype=torch.float64)
    for path in itertools.product(range(3), repeat=2):
        z = torch.nn.functional.one_hot(torch.tensor(path), 3).double()[None].expand(4, -1, -1)
        likelihood += torch.exp(model.observation.log_prob(model.decode([z]), x).sum(1)) / 9
    assert likelihood.sum().item() == pytest.approx(1.0, abs=1e-12)  # all four sequences: p(x) is normalised
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([model.elbo(x, generator).nats for _ in range(100)])
    weighted = model.log_likelihood(x, 3000, generator)
    assert (draws.mean(0) < likelihood.log() + 4 * draws.std(0) / 10).all()
    assert draws.mean() < likelihood.log().mean()
    assert torch.allclose(weighted, likelihood.log(), atol=5e-3)


def test_observation_probabilities_sum_to_one() -> None:
    model = build("levels").double()
    params = torch.randn(1, 1, 3, 6, dtype=torch.float64)
    values = torch.tensor(list(itertools.product(range(6), repeat=3)))
    total = sum(model.observation.log_prob(params, v.view(1, 1, 3)).exp().item() for v in values)
    assert total == pytest.approx(1.0, abs=1e-12)


def test_gaussian_observation_density() -> None:
    model = build("series").double()
    params, x = torch.randn(1, 4, 2, 1, dtype=torch.float64), torch.randn(1, 4, 2, dtype=torch.float64)
    density = stats.norm(params[..., 0].numpy(), 1.0).logpdf(x.numpy()).sum(-1)
    assert torch.allclose(model.observation.log_prob(params, x), torch.from_numpy(density))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": []}, "levels must not be empty"),
        ({"length": 0}, "greater than or equal to 1"),
        ({"widht": 3}, "Extra inputs"),
        ({"image": {"height": 3, "width": 3}, "modality": "image"}, "must equal length x size"),
        ({"modality": "image"}, "exactly when modality"),
        ({"modality": "text"}, "categorical observation"),
        ({"observation": {"kind": "poisson"}}, "does not match any of the expected tags"),
        ({"encoder": {"kind": "bidirectional", "width": 4, "state": 2, "layers": 1, "sees_noise": True}}, "causal"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config("rows", **changes)
