"""A tiny recipe with pictures to train on in a second, and real digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vssm.config import ModelConfig
from vssm.data import Images
from vssm.recipe import Recipe, parse_toml

TINY = """
[model]
description = "stripes"
modality = "image"
length = 8
size = 8
image = { height = 8, width = 8, channels = 1 }
observation = { kind = "bernoulli" }
encoder = { kind = "causal", width = 8, state = 4, layers = 1 }
decoder = { width = 8, state = 4 }
levels = [{ kind = "gaussian", size = 4, layers = 1 }, { kind = "gaussian", size = 2, layers = 1 }]

[data]
dataset = "stripes"
validation_examples = 20

[training]
steps = 12
batch_size = 8
learning_rate = 1e-2
warmup_steps = 3
kl_warmup_steps = 4
free_bits = 0.01
ema_decay = 0.9
metrics_every_steps = 5
validation_every_steps = 4
"""


def config_of(recipe: Recipe) -> ModelConfig:
    """The configuration of a recipe that trains a VSSM."""
    assert isinstance(recipe.model, ModelConfig)
    return recipe.model


def make_images(count: int) -> Images:
    """Grey pictures of vertical and horizontal stripes, 8 x 8."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count).astype(np.uint8)
    upright = np.tile(np.array([230, 230, 230, 230, 10, 10, 10, 10], np.uint8), (8, 1))
    images = np.where(labels[:, None, None] == 0, upright, upright.T)
    return Images(images.astype(np.uint8), labels)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe_text() -> str:
    return TINY


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    """`make_recipe("training.steps=3", ...)` is the tiny recipe with changes."""
    return lambda *settings: parse_toml(TINY, "tiny", settings)


@pytest.fixture
def images() -> Images:
    return make_images(100)


@pytest.fixture(scope="session")
def digits() -> NDArray[np.uint8]:
    """500 binarised test digits of MNIST, uint8 (500, 28, 28) of zeros and ones."""
    with np.load(Path(__file__).parents[1] / "data" / "mnist_digits.npz") as stored:
        return np.unpackbits(stored["bits"], axis=1).reshape(-1, 28, 28)
