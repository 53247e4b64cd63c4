"""Rivals as checkpoints, in recipes, in training, and of a wanted size."""

import json
from pathlib import Path
from typing import Literal

import pytest
import torch

import vssm
from tests.vssm.baselines.rivals import FAMILIES, rival
from tests.vssm.conftest import make_images
from vssm import baselines
from vssm.checkpoint import CheckpointError
from vssm.config import ModelConfig
from vssm.recipe import RecipeError, load_recipe, parse_toml, to_toml
from vssm.train import train

RECIPE = """
[model]
family = "{family}"
description = "stripes"
modality = "image"
length = 8
size = 8
image = {{ height = 8, width = 8, channels = 1 }}
observation = {{ kind = "bernoulli" }}
width = 16
layers = 1
{more}

[data]
dataset = "stripes"
validation_examples = 20

[training]
steps = 60
batch_size = 8
learning_rate = 1e-2
validation_every_steps = 20
"""
MORE = {"transformer": "heads = 2\nhidden = 24", "mamba": "state = 4"}
LIKE = ModelConfig.model_validate(
    {
        "length": 784,
        "size": 1,
        "observation": {"kind": "bernoulli"},
        "levels": [{"kind": "gaussian", "size": 16, "layers": 6}],
        "encoder": {"width": 160, "state": 80, "layers": 3},
        "decoder": {"width": 160, "state": 80},
    }
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_comes_back_the_same(family: str, tmp_path: Path) -> None:
    model = rival(family)
    vssm.save(model, tmp_path / "rival", "# a card\n")
    back = baselines.load(tmp_path / "rival")
    assert back.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True))
    assert not any(p.requires_grad for p in back.parameters())
    with pytest.raises(CheckpointError, match=f"holds a {family}, not a VSSM; vssm.baselines.load"):
        vssm.load(tmp_path / "rival")


def test_a_vssm_is_no_rival() -> None:
    with pytest.raises(CheckpointError, match=r"vssm\.load reads it"):
        baselines.load("mnist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "lstm"}, "family must be one of vssm, transformer, mamba"),
        ({"heads": 3}, "multiple of 2 x heads"),
        ({"widht": 3}, "widht: Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    vssm.save(rival("transformer"), tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    document["config"] |= change
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=message):
        baselines.load(tmp_path)


def test_the_shipped_model_keeps_its_fingerprint() -> None:
    """Sessions that were saved before there were families stay valid."""
    assert vssm.load("mnist").fingerprint.startswith("9de0")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_says_the_family(family: str, tmp_path: Path) -> None:
    recipe = parse_toml(RECIPE.format(family=family, more=MORE[family]))
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    assert load_recipe(tmp_path / "recipe.toml") == recipe
    with pytest.raises(RecipeError, match=r"model\.widht: unknown field, did you mean width"):
        parse_toml(RECIPE.format(family=family, more=MORE[family] + "\nwidht = 3"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_loop_trains_it(family: str, tmp_path: Path) -> None:
    recipe = parse_toml(RECIPE.format(family=family, more=MORE[family]))
    result = train(recipe, tmp_path / "whole", source=make_images(100))
    model = baselines.load(result.checkpoint)
    assert model.config == recipe.model
    assert result.bound > -64 * 0.69 * 0.8  # nats of 64 even bits, less a fifth
    again = train(recipe, tmp_path / "again", source=make_images(100))
    assert again.bound == result.bound


@pytest.mark.parametrize("family", ["transformer", "mamba"])
@pytest.mark.parametrize("parameters", [200_000, 992_193, 4_000_000])
def test_a_rival_of_the_same_size(family: Literal["transformer", "mamba"], parameters: int) -> None:
    config = baselines.match(family, parameters, like=LIKE)
    found = baselines.build(config).parameter_count
    assert abs(found / parameters - 1) <= 0.05
    assert (config.length, config.size, config.observation, config.layers) == (784, 1, LIKE.observation, 6)


def test_no_rival_is_that_small() -> None:
    with pytest.raises(ValueError, match="no transformer of 6 layers has 500 parameters"):
        baselines.match("transformer", 500, like=LIKE)
