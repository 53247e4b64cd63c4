"""Checkpoints: saved and loaded without a difference, and every way a folder can be wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import vssm
from tests.vssm.models import KINDS, build
from vssm import CheckpointError
from vssm.checkpoint import shipped_folder
from vssm.recipe import parse_toml


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_loaded_model_generates_the_same_values(kind: str, tmp_path: Path) -> None:
    model = build(kind)
    vssm.save(model, tmp_path, card="# A card")
    loaded = vssm.load(tmp_path)
    assert loaded.fingerprint == model.fingerprint
    a, b = (m.generate(num_samples=3, length=20, seed=6).values for m in (model, loaded))
    assert np.array_equal(a, b)
    assert (tmp_path / "README.md").read_text() == "# A card"


def test_the_fingerprint_follows_weights_and_config_but_not_the_description() -> None:
    base = build("rows")
    assert base.fingerprint != build("rows", seed=1).fingerprint
    assert base.fingerprint != build("rows", length=13).fingerprint
    assert base.fingerprint == build("rows", description="words").fingerprint


@pytest.mark.parametrize("name", vssm.shipped_models())
def test_a_shipped_model_is_small_has_a_card_and_works(name: str) -> None:
    folder = shipped_folder() / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    card = (folder / "README.md").read_text()
    assert "Not yet evaluated" not in card
    recipe = parse_toml(card.split("```toml\n")[1].split("```")[0])
    model = vssm.load(name)
    assert model.config == recipe.model
    values = model.generate(num_samples=2, seed=0).values
    assert values.shape == (2, model.config.length, model.config.size)
    assert len(np.unique(values)) > 1


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / "config.json").read_text())
        document.update({k: v for k, v in changes.items() if k in ("format_version", "surplus")})
        document["config"].update({k: v for k, v in changes.items() if k not in ("format_version", "surplus")})
        (folder / "config.json").write_text(json.dumps(document))

    return edit


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return edit


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


WRONG: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "config.json").unlink(), "cannot be read"),
    (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "exactly 'format_version' and 'config'"),
    (lambda f: (f / "config.json").write_bytes(b" " * (1 << 20) + b"{}"), "more than"),
    (lambda f: (f / "config.json").write_bytes(b"[" * 100_000), "not valid JSON"),
    (lambda f: (f / "config.json").write_bytes(b"\xff"), "not valid JSON"),
    (edit_config(format_version=2), "format version 2; this release reads version 1"),
    (edit_config(surplus=1), "exactly"),
    (edit_config(length=-1), "length: Input should be greater"),
    (edit_config(wings=2), "wings: Extra inputs"),
    (edit_config(levels=[{"kind": "gaussian", "size": 5, "layers": 60}] * 5), "128 layers together, not 30"),
    (edit_config(size=8), "has shape"),
    (lambda f: (f / "model.safetensors").unlink(), "is missing"),
    (lambda f: (f / "model.safetensors").write_bytes(b"x" * 40), "truncated or not a safetensors"),
    (lambda f: (f / "model.safetensors").write_bytes(b""), "truncated or not a safetensors"),
    (truncate, "truncated or not a safetensors"),
    (edit_weights(lambda w: w.pop("embed.bias")), "lacks 'embed.bias'"),
    (edit_weights(lambda w: w.update(surplus=torch.zeros(1))), "unknown 'surplus'"),
    (edit_weights(lambda w: w.update({"embed.bias": torch.zeros(3)})), r"has shape \(3,\), needed is \(16,\)"),
    (edit_weights(lambda w: w.update({"embed.bias": torch.zeros(16, dtype=torch.float16)})), "dtype F16"),
    (edit_weights(lambda w: w.update({"embed.bias": torch.full((16,), torch.nan)})), "not finite"),
]


@pytest.mark.parametrize(("damage", "message"), WRONG)
def test_a_folder_that_does_not_fit_is_refused(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    vssm.save(build("rows"), tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        vssm.load(tmp_path)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="no model named 'minst'"):
        vssm.load("minst")
