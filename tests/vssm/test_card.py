"""Model cards keep what people wrote and replace what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vssm.card import training_card, write_measured
from vssm.recipe import Recipe, parse_toml


def test_card_of_a_training_holds_its_recipe(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()
    card = training_card(recipe, step=1234, bound=-98.765)
    assert "negative ELBO 98.77 nats" in card
    assert "step 1,234" in card
    assert parse_toml(card.split("```toml\n")[1].split("```")[0]) == recipe


def test_measured_figures_are_replaced(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    before = training_card(make_recipe(), 10, -50.0)
    path.write_text(before)
    for figures in ("first figures", "second figures"):
        write_measured(tmp_path, figures)
    after = path.read_text()
    assert "second figures" in after
    assert "first figures" not in after
    assert "Not yet evaluated" not in after
    assert after.split("## Measured")[0] == before.split("## Measured")[0]
    assert after.split("## Recipe")[1] == before.split("## Recipe")[1]


@pytest.mark.parametrize("card", [None, "# Mine\n\nWritten by hand.\n"])
def test_cards_without_figures_get_them(tmp_path: Path, card: str | None) -> None:
    if card:
        (tmp_path / "README.md").write_text(card)
    write_measured(tmp_path, "12.3 nats")
    write_measured(tmp_path, "45.6 nats")
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(card or "# Model")
    assert text.count("## Measured") == 1
    assert "45.6 nats" in text
    assert "12.3" not in text
