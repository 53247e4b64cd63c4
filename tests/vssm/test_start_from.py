"""A training that goes on from another checkpoint's weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vssm.baselines import build
from vssm.checkpoint import CheckpointError, save
from vssm.recipe import Recipe
from vssm.training.errors import TrainingError
from vssm.training.trainer import weights_of

MakeRecipe = Callable[..., Recipe]


def test_the_first_weights_are_those_of_the_checkpoint(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe()
    torch.manual_seed(5)
    model = build(recipe.model)
    save(model, tmp_path / "before")
    found = weights_of(str(tmp_path / "before"), recipe.model)
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_other_networks_are_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    save(build(make_recipe().model), tmp_path / "before")
    other = make_recipe("model.decoder.width=9")
    with pytest.raises(TrainingError, match=r"has other networks \(decoder is .*'width': 8"):
        weights_of(str(tmp_path / "before"), other.model)
    with pytest.raises(CheckpointError):
        weights_of(str(tmp_path / "nothing"), other.model)
