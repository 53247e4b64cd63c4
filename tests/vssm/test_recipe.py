"""Recipes are checked in full, and what is wrong is named with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vssm.conftest import TINY, config_of
from vssm.recipe import Recipe, RecipeError, load_recipe, parse_toml, to_toml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_the_project_are_valid(path: Path) -> None:
    assert isinstance(load_recipe(path), Recipe)


def test_written_recipe_reads_back_equal(recipe_text: str) -> None:
    recipe = parse_toml(recipe_text, "tiny", ['model.description="a \\"quote\\", ü and \\n"'])
    assert recipe.model.description == 'a "quote", ü and \n'
    assert parse_toml(to_toml(recipe)) == recipe


def test_overrides_change_fields(recipe_text: str) -> None:
    settings = ["training.steps=7", "data.dataset=cifar10", "training.learning_rate = 1", "model.encoder.layers=3"]
    recipe = parse_toml(recipe_text, "tiny", settings)
    assert (recipe.training.steps, recipe.data.dataset, recipe.training.learning_rate) == (7, "cifar10", 1.0)
    encoder = config_of(recipe).encoder
    assert encoder is not None
    assert encoder.layers == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.step=3", "training.step: unknown field, did you mean steps[?] Known are seed, start_from, steps, "),
        ("training.zzz=3", "training.zzz: unknown field, known are seed, "),
        ("trainin.steps=3", "trainin: unknown field, did you mean training"),
        ("model.encoder.wdth=3", "model.encoder.wdth: unknown field"),
        ("training.steps=0", "training.steps: .*greater than or equal to 1 .it is 0"),
        ("training.steps=1.5", "training.steps: .*valid integer"),
        ('training.steps="9"', "training.steps: .*valid integer .it is '9'"),
        ("training.batch_size=true", "training.batch_size: .*valid integer"),
        ("training.learning_rate=nan", "training.learning_rate: .*finite"),
        ("training.ema_decay=1.0", "training.ema_decay: .*less than 1"),
        ("data.binarisation=static", "data.binarisation: Input should be 'dynamic' .it is 'static'"),
        ("model.encoder.kind=both", "model.encoder.kind: Input should be 'causal' or 'bidirectional'"),
        ("steps=3", "write table.field=value"),
        ("training.steps", "write table.field=value"),
        ("training.steps.more=1", "'steps' is not a table"),
    ],
)
def test_wrong_fields_are_named(recipe_text: str, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_toml(recipe_text, "tiny", [setting])


def test_all_wrong_fields_are_told_at_once(recipe_text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_toml(recipe_text, "tiny", ["training.steps=0", "training.seed=-1"])
    assert "tiny is not a valid recipe" in str(caught.value)
    assert "training.steps" in str(caught.value)
    assert "training.seed" in str(caught.value)


def test_missing_tables_and_fields_are_named() -> None:
    with pytest.raises(RecipeError, match=r"model: missing[^$]*data.dataset: missing[^$]*training.steps: missing"):
        parse_toml("[data]\n[training]\n")


@pytest.mark.parametrize(("content", "message"), [(b"[model", "not valid TOML"), (b"\xff\xfe", "not a text file")])
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_unreadable_recipe_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot read recipe .*"):
        load_recipe(tmp_path / name)


def test_data_settings_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(RecipeError, match="binarisation is for bernoulli models, not gaussian ones"):
        parse_toml(TINY, overrides=['data.binarisation="dynamic"', 'model.observation.kind="gaussian"'])
    series = TINY.replace('modality = "image"', 'modality = "series"').replace("image = {", "# image = {")
    with pytest.raises(RecipeError, match="mirrored is for images"):
        parse_toml(series, overrides=["data.mirrored=true"])
