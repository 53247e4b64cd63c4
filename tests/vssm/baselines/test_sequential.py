"""A model in exact mode run step by step: the same likelihood and, but for rounding, the same values as its passes."""

import numpy as np
import pytest
import torch

from tests.vssm.models import build
from vssm.baselines.generate import generate
from vssm.baselines.sequential import Sequential

FREE = ["exact", "exact classes"]


@pytest.mark.parametrize("kind", FREE)
def test_its_likelihood_is_the_models(kind: str) -> None:
    model = build(kind).double()
    x = torch.as_tensor(build(kind).generate(num_samples=3, length=25, seed=1).values)
    assert torch.allclose(Sequential(model).log_prob(x).sum(1), model.log_likelihood(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", FREE)
def test_its_steps_make_the_values_of_the_passes(kind: str) -> None:
    model = build(kind)
    rival = Sequential(model)
    prefix = model.generate(length=9, seed=7).values[0]
    for observed in (None, prefix):
        passes = model.generate(num_samples=5, length=60, seed=3, prefix=observed).values
        steps = generate(rival, 5, 60, 3, observed, 1.0, None, "eager").values
        assert np.mean(passes == steps) > 0.99


def test_latents_are_refused() -> None:
    for kind in ("hybrid", "rows"):
        with pytest.raises(ValueError, match="exact mode without latents"):
            Sequential(build(kind))
