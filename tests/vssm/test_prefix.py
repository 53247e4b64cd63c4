"""Completions of real digits depend on the prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vssm
from tests.vssm.conftest import config_of
from vssm.prefix import complete, prefix_dependence
from vssm.recipe import Recipe


@pytest.fixture
def model(make_recipe: Callable[..., Recipe]) -> vssm.VSSM:
    torch.manual_seed(0)
    return vssm.VSSM(config_of(make_recipe())).eval()


def test_completions_are_those_of_generate(model: vssm.VSSM) -> None:
    prefixes = np.random.default_rng(0).integers(0, 2, (120, 3, 8)).astype(np.uint8)
    values = complete(model, prefixes, length=5, num_samples=2, seed=7)
    assert values.shape == (120, 2, 5, 8)
    for i in (0, 99, 100, 119):
        alone = model.generate(num_samples=2, length=5, seed=7 + i, prefix=prefixes[i]).values
        np.testing.assert_array_equal(values[i], alone)


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (-1, 0.0)])
def test_share_of_completions_nearer_to_their_own(
    digits: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, shift: int, share: float
) -> None:
    """Someone who knows the lower halves is always right; someone who gives the next digit's is always wrong."""
    known = np.roll(digits[:50, 14:], shift, axis=0)[:, None].repeat(3, 1)
    monkeypatch.setattr("vssm.prefix.complete", lambda *_: known)
    unused: Any = None
    assert prefix_dependence(unused, digits[:50], steps=14, num_samples=3) == share


def test_an_untrained_model_does_not_know(make_recipe: Callable[..., Recipe], digits: NDArray[np.uint8]) -> None:
    settings = ("model.length=28", "model.size=28", "model.image={ height=28, width=28, channels=1 }")
    model = vssm.VSSM(config_of(make_recipe(*settings))).eval()
    assert 0.3 < prefix_dependence(model, digits[:200], steps=14, num_samples=2) < 0.7


def test_shipped_model_continues_real_digits(digits: NDArray[np.uint8]) -> None:
    share = prefix_dependence(vssm.load("mnist"), digits, steps=14, num_samples=8)
    assert share >= 0.8
