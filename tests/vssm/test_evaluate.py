"""The figures of an evaluation are the means and errors of the model's own bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vssm
from tests.vssm.conftest import config_of
from vssm.data import Images
from vssm.evaluate import evaluate
from vssm.examples import measured_with
from vssm.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def model(make_recipe: MakeRecipe) -> vssm.VSSM:
    torch.manual_seed(0)
    return vssm.VSSM(config_of(make_recipe())).eval()


@pytest.fixture
def x(images: Images, make_recipe: MakeRecipe) -> Tensor:
    return measured_with(config_of(make_recipe()), images, None, seed=0)


class Known(vssm.VSSM):
    """A model whose ELBO is minus the number of ones, and whose weighted bound is K nats better."""

    def elbo(self, x: Tensor, *_: Any, **__: Any) -> vssm.Elbo:
        ones = x.sum((1, 2))
        return vssm.Elbo(-ones + 3, torch.stack([ones * 0 + 1, ones * 0 + 2], dim=-1), -ones)

    def log_likelihood(self, x: Tensor, num_importance_samples: int = 64, generator: Any = None) -> Tensor:
        del generator
        return num_importance_samples - x.sum((1, 2))


def test_means_and_standard_errors(make_recipe: MakeRecipe) -> None:
    counts = np.random.default_rng(0).integers(0, 65, 1200)
    x = torch.from_numpy(np.arange(64)[None] < counts[:, None]).reshape(-1, 8, 8).float()
    done: list[int] = []
    result = evaluate(Known(config_of(make_recipe())), x, num_importance_samples=5, report=done.append)
    error = counts.std(ddof=1) / math.sqrt(1200)
    assert result.negative_elbo.nats == pytest.approx(counts.mean())
    assert result.importance_weighted.nats == pytest.approx(counts.mean() - 5)
    assert result.negative_elbo.standard_error == pytest.approx(error)
    assert result.importance_weighted.standard_error == pytest.approx(error)
    assert result.kl == (1.0, 2.0)
    assert result.bits_per_dimension == pytest.approx((counts.mean() - 5) / 64 / math.log(2))
    assert (result.examples, result.dimensions, done) == (1200, 64, [500, 1000, 1200])


def test_the_same_call_gives_the_same_figures(model: vssm.VSSM, x: Tensor) -> None:
    first = evaluate(model, x[:20], num_importance_samples=3)
    torch.rand(3)
    assert evaluate(model, x[:20], num_importance_samples=3) == first
    assert evaluate(model, x[:20], num_importance_samples=3, seed=1) != first


def test_more_samples_tighten_the_bound(model: vssm.VSSM, x: Tensor) -> None:
    with torch.no_grad():  # latents that matter, and a posterior that does not fit
        for parameter in model.parameters():
            parameter.mul_(1.5)
    bounds = [evaluate(model, x, num_importance_samples=k).importance_weighted.nats for k in (1, 10, 100)]
    assert bounds[0] > bounds[1] > bounds[2]


def test_the_result_is_json_and_a_table(model: vssm.VSSM, x: Tensor) -> None:
    result = evaluate(model, x[:10], num_importance_samples=2)
    read = json.loads(json.dumps(result.as_dict()))
    assert read["negative_elbo"]["nats"] == result.negative_elbo.nats
    assert read["examples"] == 10
    assert f"| negative ELBO | {result.negative_elbo.nats:.2f} |" in result.as_text()
