"""Training on cut prefixes: where it cuts, what it maximises, and that it goes on as if never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.vssm.test_train import EVERY_STEP, Stop, StopAt, same_training
from vssm.batches import as_sequences, derive_seed
from vssm.data import Images
from vssm.examples import ImageBatches
from vssm.recipe import Recipe, RecipeError
from vssm.train import train
from vssm.training.trainer import Trainer, cut_length

MakeRecipe = Callable[..., Recipe]
CUT = "training.cut_prefixes=true"
ENCODER = 'model.encoder={{ kind = "bidirectional", width = 8, state = 4, layers = 1, prefixes = {} }}'


def test_half_of_the_batches_are_cut_anywhere(make_recipe: MakeRecipe) -> None:
    lengths = torch.tensor([cut_length(step, 8, make_recipe(CUT).training) for step in range(4000)])
    share = torch.bincount(lengths, minlength=9)[1:] / 4000
    expected = torch.tensor([1 / 16] * 7 + [9 / 16])
    assert torch.allclose(share, expected, atol=0.032)  # four standard errors of the largest
    assert {cut_length(step, 8, make_recipe().training) for step in range(50)} == {8}
    other = make_recipe(CUT, "training.seed=1").training
    assert [cut_length(step, 8, other) for step in range(50)] != lengths[:50].tolist()


@pytest.mark.parametrize("encoder", ['model.encoder.kind="causal"', ENCODER.format("true")])
def test_the_bound_of_a_cut_batch_is_scaled(make_recipe: MakeRecipe, images: Images, encoder: str) -> None:
    recipe = make_recipe(CUT, encoder)
    batches = ImageBatches(as_sequences(images.images, 8, 8), 8, recipe.training.seed, bits=True)
    trainer = Trainer(recipe, batches)
    trainer.step = next(step for step in range(99) if cut_length(step, 8, recipe.training) == 3)
    noise = torch.Generator().manual_seed(derive_seed(recipe.training.seed, "noise", trainer.step))
    weight = recipe.training.kl_warmup_start + 0.9 * min(1.0, trainer.step / 4)
    bound = trainer.model.elbo(batches.batch(trainer.step)[:, :3], noise, free_bits=0.01, kl_weight=weight)
    (-8 / 3 * bound.objective.mean()).backward()  # type: ignore[no-untyped-call]
    norm = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]).norm()
    trainer.advance()
    metrics = trainer.take_metrics()
    assert metrics.bound == pytest.approx(8 / 3 * bound.nats.mean().item(), rel=1e-5)
    assert metrics.gradient_norm == pytest.approx(float(norm), rel=1e-4)


def test_resumed_is_uninterrupted(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    recipe = make_recipe(CUT, EVERY_STEP)
    train(recipe, tmp_path / "whole", source=images)
    with pytest.raises(Stop):
        train(recipe, tmp_path / "cut", source=images, display=StopAt(recipe, 7))
    train(recipe, tmp_path / "cut", source=images)
    assert same_training(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((CUT, ENCODER.format("false")), "cut_prefixes is True and model.encoder.prefixes is False"),
        ((ENCODER.format("true"),), "cut_prefixes is False and model.encoder.prefixes is True"),
        (("model.encoder.prefixes=true",), "needs kind = 'bidirectional'"),
    ],
)
def test_what_does_not_go_together_is_refused(make_recipe: MakeRecipe, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_recipe(*settings)
