"""Images, text and series become sequences as a model reads them; what is held out is not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vssm.data import Images, Series, Text
from vssm.examples import examples, measured_with
from vssm.recipe import Recipe, RecipeError, parse_toml

MakeRecipe = Callable[..., Recipe]

TEXT = """
[model]
modality = "text"
length = 16
size = 1
observation = { kind = "categorical", classes = 256 }
encoder = { kind = "causal", width = 8, state = 4, layers = 1 }
decoder = { width = 8, state = 4 }
levels = [{ kind = "gaussian", size = 4, layers = 1 }]
[data]
dataset = "shakespeare"
validation_examples = 3
[training]
steps = 5
batch_size = 4
"""
SERIES = (
    TEXT.replace('modality = "text"', 'modality = "series"\nscaling = "prefix"')
    .replace("size = 1", "size = 2")
    .replace('{ kind = "categorical", classes = 256 }', '{ kind = "gaussian" }')
)


def run_of(count: int) -> Text:
    return Text(np.arange(count, dtype=np.uint8))


def test_text_is_cut_into_windows_and_its_end_held_out() -> None:
    made = examples(parse_toml(TEXT), run_of(200), None)
    batch = made.training.batch(0)
    assert batch.shape == (4, 16, 1)
    assert batch.dtype == torch.int64
    assert (batch.diff(dim=1) == 1).all()
    assert max(int(made.training.batch(step).max()) for step in range(200)) == 200 - 3 * 16 - 1
    assert made.validation[:, 0, 0].tolist() == [152, 168, 184]
    assert torch.equal(batch, examples(parse_toml(TEXT), run_of(200), None).training.batch(0))
    assert not torch.equal(batch, made.training.batch(1))


def test_a_validation_split_takes_the_place_of_the_end() -> None:
    made = examples(parse_toml(TEXT), run_of(100), Text(np.full(50, 7, np.uint8)))
    assert max(int(made.training.batch(step).max()) for step in range(200)) == 99
    assert (made.validation == 7).all()


def test_text_is_measured_in_windows_side_by_side() -> None:
    model = parse_toml(TEXT).model
    assert measured_with(model, run_of(50), None, 0)[:, 0, 0].tolist() == [0, 16, 32]
    assert measured_with(model, run_of(50), 2, 0)[:, 0, 0].tolist() == [0, 34]


def test_series_are_normalised_by_their_first_steps() -> None:
    random = np.random.default_rng(0)
    values = (5.0 + 3.0 * random.standard_normal((300, 2)).cumsum(0)).astype(np.float32)
    model = parse_toml(SERIES).model
    x = measured_with(model, Series(values, ("a", "b")), None, 0)
    assert torch.allclose(x[:, :8].mean(1), torch.zeros(len(x), 2), atol=1e-4)
    assert torch.allclose(x[:, :8].std(1, unbiased=False), torch.ones(len(x), 2), rtol=1e-2)
    moved = measured_with(model, Series(values * 7 - 100, ("a", "b")), None, 0)
    assert torch.allclose(x, moved, atol=1e-2)
    batch = examples(parse_toml(SERIES), Series(values, ("a", "b")), None).training.batch(3)
    assert batch.shape == (4, 16, 2)


def test_levels_are_left_as_they_are_and_may_be_mirrored(make_recipe: MakeRecipe) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3)).astype(np.uint8)
    changes: dict[str, Any] = {"model.length": 4, "model.size": 12, "data.validation_examples": 2}
    image = "{ height = 4, width = 4, channels = 3 }"
    levels = '{ kind = "categorical", classes = 256 }'
    settings = [f"{k}={v}" for k, v in changes.items()]
    settings += [f"model.image={image}", f"model.observation={levels}", "data.mirrored=true"]
    made = examples(make_recipe(*settings), Images(colours, np.zeros(30, np.uint8)), None)
    batch = made.training.batch(0).view(8, 4, 4, 3)
    known = {image.tobytes() for image in colours}
    mirrored = {image[:, ::-1].tobytes() for image in colours}
    found = [image.numpy().tobytes() for image in batch]
    assert all(image in known | mirrored for image in found)
    assert any(image in mirrored for image in found)
    assert any(image in known for image in found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Text(np.zeros(20, np.uint8)), "data.validation_examples: 48 of 20 steps leave none"),
        (Text(np.zeros(60, np.uint8)), "fewer than the model's length"),
        (Series(np.zeros((90, 3), np.float32), ("a", "b", "c")), "model.modality: text models do not read series"),
        (
            Images(np.zeros((9, 4, 4), np.uint8), np.zeros(9, np.uint8)),
            "model.modality: text models do not read images",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(source: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        examples(parse_toml(TEXT), source, None)


@pytest.mark.parametrize("limit", [0, -1])
def test_nothing_to_measure_with_is_refused(make_recipe: MakeRecipe, images: Images, limit: int) -> None:
    with pytest.raises(ValueError, match="at least one example"):
        measured_with(make_recipe().model, images, limit, 0)


def test_images_that_do_not_fit_are_refused(make_recipe: MakeRecipe) -> None:
    with pytest.raises(ValueError, match="images of 4x4 have 16 values"):
        measured_with(make_recipe().model, Images(np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.uint8)), None, 0)
