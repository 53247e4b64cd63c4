"""Which models are compared: for every task two VSSMs, the Transformer and the Mamba, by single values also a VSSM in
exact mode; and what is left out or added.

A recipe of a task describes its autoregressive VSSM. The others have as many parameters (within 5 %), see the same
examples in the same batches, and share its schedule. A learning rate is a family's own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vssm.baselines import build, match
from vssm.config import ModelConfig
from vssm.recipe import Recipe, load_recipe

Device = Literal["cpu", "cuda"]

TASKS = {
    "mnist-rows": "MNIST by rows: 28 steps of 28 binary pixels",
    "mnist-pixels": "MNIST by pixels: 784 steps of a binary pixel",
    "cifar10-rows": "CIFAR-10 by rows: 32 steps of 32 pixels in colour",
    "cifar10-pixels": "CIFAR-10 by pixels: 1,024 steps of red, green and blue",
    "shakespeare": "Shakespeare's plays: 256 steps of a byte",
}
AUTOREGRESSIVE = "autoregressive VSSM"
FAMILIES = ("VSSM", AUTOREGRESSIVE, "Transformer", "Mamba")
EXACT = "exact mode"  # of these tasks: what its decoder reads of earlier values, and its learning rate, are of a recipe
EXACT_RECIPES = {
    "mnist-pixels": Path("recipes/mnist-exact.toml"),
    "cifar10-pixels": Path("recipes/cifar10-exact.toml"),
    "shakespeare": Path("recipes/reproduce/shakespeare-exact.toml"),
}
RECIPES: dict[Device, Path] = {"cpu": Path("recipes/reproduce"), "cuda": Path("recipes/reproduce-gpu")}
RATES: dict[str, float] = {"transformer": 1e-3, "mamba": 2e-3}  # those of VSSMs stand in the recipes
_STEPS = ("steps", "warmup_steps", "kl_warmup_steps", "validation_every_steps", "metrics_every_steps")


@dataclass(frozen=True)
class Experiment:
    """One model of the tables; an ablation is compared with the autoregressive VSSM of its task."""

    task: str
    name: str
    recipe: Recipe
    ablation: bool = False

    @property
    def key(self) -> str:
        """Its folder's name."""
        return f"{self.task}/{self.name.replace(' ', '-')}"

    @property
    def continues(self) -> bool:
        """Whether its continuations of MNIST digits are measured."""
        return self.task == "mnist-rows" and self.name in (AUTOREGRESSIVE, CUT, "Transformer", "Mamba")


def experiments(device: Device = "cpu", scale: float = 1.0) -> list[Experiment]:
    """Everything that is trained; `scale` shortens every training in proportion (for a rehearsal)."""
    made: list[Experiment] = []
    for task in TASKS:
        recipe = shortened(load_recipe(RECIPES[device] / f"{task}.toml"), scale)
        made += of_task(task, recipe)
        if task == "mnist-rows":
            made += [Experiment(task, name, change(recipe), True) for name, change in ABLATIONS.items()]
    return made


def of_task(task: str, recipe: Recipe) -> list[Experiment]:
    """The families of one task, from the recipe of its autoregressive VSSM."""
    recipes = [_bidirectional(recipe), recipe, _rival(recipe, "transformer"), _rival(recipe, "mamba")]
    if task in EXACT_RECIPES:
        recipes.append(_exact(recipe, load_recipe(EXACT_RECIPES[task])))
    return [Experiment(task, name, variant) for name, variant in zip(families(task), recipes, strict=True)]


def families(task: str) -> tuple[str, ...]:
    """Their names, in the order of the tables."""
    return (*FAMILIES, EXACT) if task in EXACT_RECIPES else FAMILIES


def parameters(recipe: Recipe) -> int:
    """How many numbers a recipe's model learns."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(recipe.model).parameters())


def shortened(recipe: Recipe, scale: float) -> Recipe:
    """The same training with `scale` times the steps, in proportion."""
    scaled = {field: max(1, round(scale * getattr(recipe.training, field))) for field in _STEPS}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=scaled)})


def _model(recipe: Recipe) -> ModelConfig:
    assert isinstance(recipe.model, ModelConfig)
    return recipe.model


def _with_model(recipe: Recipe, **changes: Any) -> Recipe:
    config = ModelConfig.model_validate(_model(recipe).model_dump() | changes)
    return recipe.model_copy(update={"model": config})


def _bidirectional(recipe: Recipe) -> Recipe:
    """An encoder that sees the whole sequence; its two stacks share the layers of the causal one."""
    encoder = _model(recipe).encoder
    assert encoder is not None
    layers = max(1, encoder.layers // 2)
    both = encoder.model_dump() | {"kind": "bidirectional", "layers": layers, "sees_noise": False}
    return _with_model(recipe, encoder=both)


def _rival(recipe: Recipe, family: Literal["transformer", "mamba"]) -> Recipe:
    config = match(family, parameters(recipe), _model(recipe))
    training = recipe.training.model_copy(update={"learning_rate": RATES[family]})
    return recipe.model_copy(update={"model": config, "training": training})


def _exact(recipe: Recipe, like: Recipe) -> Recipe:
    """One without latents whose decoder reads earlier values as that of `like`, of the width that fits best."""
    past = _model(like).past
    assert past is not None
    changes: dict[str, Any] = {"levels": [], "encoder": None, "past": past.model_dump()}

    def of(width: int) -> Recipe:
        return _with_model(recipe, **changes, decoder={"width": width, "state": width // 2})

    size, widths = parameters(recipe), range(8, 1024, 4)
    above = bisect_left(widths, size, key=lambda width: parameters(of(width)))
    found = min(widths[max(0, above - 1) : above + 1], key=lambda width: abs(parameters(of(width)) - size))
    rate = {"learning_rate": like.training.learning_rate}
    return of(found).model_copy(update={"training": recipe.training.model_copy(update=rate)})


def _levels(count: int) -> Callable[[Recipe], Recipe]:
    """As many latents and layers in `count` levels."""

    def change(recipe: Recipe) -> Recipe:
        levels = [level.model_dump() for level in _model(recipe).levels]
        size, layers = sum(level["size"] for level in levels), sum(level["layers"] for level in levels)
        each = {"kind": "gaussian", "size": size // count, "layers": layers // count}
        return _with_model(recipe, levels=[each] * count)

    return change


def _flow(recipe: Recipe) -> Recipe:
    return _with_model(recipe, levels=[level.model_dump() | {"couplings": 4} for level in _model(recipe).levels])


def _without_noise(recipe: Recipe) -> Recipe:
    encoder = _model(recipe).encoder
    assert encoder is not None
    return _with_model(recipe, encoder=encoder.model_dump() | {"sees_noise": False})


def _cut(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"cut_prefixes": True})})


CUT = "trained on cut prefixes"
ABLATIONS: dict[str, Callable[[Recipe], Recipe]] = {
    "one level instead of three": _levels(1),
    "two levels instead of three": _levels(2),
    "coupling-flow prior": _flow,
    "encoder that does not see the noise": _without_noise,
    CUT: _cut,
}
