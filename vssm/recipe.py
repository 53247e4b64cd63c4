"""Recipes: TOML files that say which model is trained on which data and how.

A recipe has three tables: `[model]` (a `ModelConfig` or, with a `family`, a rival's), `[data]` and `[training]`. All
of it is checked before anything is computed; an unknown field is an error, never ignored.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vssm.baselines.config import FAMILIES, AnyConfig
from vssm.config import ModelConfig

Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]


class RecipeError(ValueError):
    """A recipe is wrong; the message names the file, the field and what is allowed."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(_Table):
    """Which data: a data set's name, or the path of your own (`vssm.data.own`), from the current folder.

    `validation_examples` says how many examples validation has: images, or windows of a text or series.

    They are of the data set's validation split, where it has one, else the last of the training split, held out.
    """

    dataset: str
    binarisation: Literal["dynamic"] | None = None
    """How grey values become bits: drawn anew at each step. For bernoulli models only, and their default."""
    validation_examples: Count = 2000
    mirrored: bool = False
    """Show every image to the training with left and right changed half of the time."""


class TrainingSettings(_Table):
    """How to train. Gradients are those of the mean negative ELBO in nats per sequence."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    start_from: str | None = None
    """A checkpoint of the same networks whose weights are the first ones: a shipped name, a folder or a hub id."""
    steps: Count
    batch_size: Count = 128
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """The highest learning rate: reached after the warm-up, then lowered to 0 along a half cosine."""
    warmup_steps: Steps = 200
    weight_decay: NotNegative = 0.01
    """Of AdamW, applied to matrices only (not to biases, gains and the dynamics of the SSMs)."""
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.99
    gradient_clip: Annotated[float, Field(gt=0)] = 50.0
    """Largest norm of the whole gradient; a longer one is shortened to this."""
    kl_warmup_steps: Steps = 0
    """Steps over which the weight of the KL term rises from `kl_warmup_start` to 1."""
    kl_warmup_start: Annotated[float, Field(ge=0, le=1)] = 0.1
    free_bits: NotNegative = 0.0
    """Nats per level and step below which the KL term gives no gradient."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the averaged weights, which are the ones validated and kept."""
    cut_prefixes: bool = False
    """Train every other batch, by chance, on the first steps of its sequences: their bound, scaled to whole ones."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of matrix products in training steps; everything else, and every figure, is float32. The others are for GPUs."""
    metrics_every_steps: Count = 50
    validation_every_steps: Count = 500
    checkpoint_every_seconds: Annotated[float, Field(gt=0)] = 60.0
    """How often the training state is written, to resume from; does not change the result."""
    graphs: bool = True
    """On CUDA, do a step as one graph, several times as fast; not with `cut_prefixes`, whose steps differ in shape."""
    threads: Count = 1
    """Threads of computation; another number can change the last bits of the result."""


class Recipe(_Table):
    """A checked recipe: what `vssm.train.train` needs to know."""

    model: AnyConfig
    data: DataSettings
    training: TrainingSettings

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data.binarisation and self.model.observation.kind != "bernoulli":
            raise ValueError(f"data.binarisation is for bernoulli models, not {self.model.observation.kind} ones")
        if self.data.mirrored and self.model.modality != "image":
            raise ValueError("data.mirrored is for images")
        return self

    @model_validator(mode="after")
    def _cuts_fit_the_model(self) -> Self:
        cut, model = self.training.cut_prefixes, self.model
        if not isinstance(model, ModelConfig):
            if cut:
                raise ValueError(
                    f"training.cut_prefixes is for a VSSM: a {model.family} learns from all prefixes anyway"
                )
            return self
        if model.encoder is None:
            if cut:
                raise ValueError(
                    "training.cut_prefixes is for a model with an encoder; this one learns from all prefixes"
                )
            return self
        if model.encoder.kind == "bidirectional" and cut != model.encoder.prefixes:
            raise ValueError(
                f"training.cut_prefixes is {cut} and model.encoder.prefixes is {model.encoder.prefixes}: with a "
                "bidirectional encoder set both, to get a model that takes prefixes, or neither"
            )
        return self


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file; each override is "table.field=value", the value as in TOML.

    Raises: RecipeError naming the file and every wrong field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a text file: {error}") from error
    return parse_toml(text, str(path), overrides)


def parse_toml(text: str, source: str = "the recipe", overrides: Iterable[str] = ()) -> Recipe:
    """Check the text of a recipe. Raises: RecipeError naming `source` and every wrong field."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source} is not valid TOML: {error}") from error
    for override in overrides:
        _override(document, override)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        lines = "".join(f"\n  {_explain(dict(item))}" for item in error.errors())
        raise RecipeError(f"{source} is not a valid recipe:{lines}") from error


def _explain(item: dict[str, Any]) -> str:
    """Turn one pydantic error into "field: what is wrong"."""
    named = item["loc"][:1] == ("model",) and item["loc"][1:2] and item["loc"][1] in FAMILIES  # by its family
    field = ".".join(str(part) for part in (item["loc"][:1] + item["loc"][2:] if named else item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown field{_known_fields(item['loc'])}"
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{field}: missing, it has no default"
    return f"{field}: {item['msg']} (it is {item['input']!r})"


def _known_fields(location: tuple[str | int, ...]) -> str:
    """For an unknown field of one of the three tables, say which fields the table has."""
    tables: dict[tuple[Any, ...], type[BaseModel]] = {("data",): DataSettings, ("training",): TrainingSettings}
    tables |= {("model", name): config for name, config in FAMILIES.items()}
    if len(location) == 1:
        known = list(Recipe.model_fields)
    elif location[:-1] in tables:
        known = list(tables[location[:-1]].model_fields)
    else:
        return ""
    near = get_close_matches(str(location[-1]), known, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"{hint} Known are {', '.join(known)}" if hint else f", known are {', '.join(known)}"


def _override(document: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *tables, field = [part.strip() for part in name.split(".")]
    if not equals or not tables:
        raise RecipeError(f"cannot set {override!r}: write table.field=value, such as training.steps=100")
    table = document
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"cannot set {name!r}: {part!r} is not a table")
    table[field] = _value(text.strip())


def _value(text: str) -> Any:
    """Read a value as TOML does; what TOML cannot read is a plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(recipe: Recipe) -> str:
    """Write a recipe, defaults included, as TOML that `load_recipe` reads back to an equal recipe."""
    tables = recipe.model_dump(mode="json", exclude_none=True)
    return "\n".join(f"[{name}]\n{_fields(table)}" for name, table in tables.items())


def _fields(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
