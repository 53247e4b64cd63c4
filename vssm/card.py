"""Model cards: the README.md of a checkpoint says what it was trained on, how, and what was measured."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from vssm.checkpoint import CheckpointError
from vssm.recipe import Recipe, to_toml

if TYPE_CHECKING:
    from vssm.baselines.config import AnyConfig

_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"

_BITS = " Dynamic binarisation: each pixel is 1 with probability\ngrey / 255, drawn anew each time."
_FOLDER = "path/to/this/folder"
_TASKS = {"image": "unconditional-image-generation", "text": "text-generation", "series": "time-series-forecasting"}

_ONE_PASS = """\
A variational state space model (VSSM): a VAE whose encoder and decoder are state space models, so that a
whole sequence is generated in one parallel pass."""
_EXACT = """\
A state space model in exact mode: it has the likelihood of an autoregressive model, and the samples of one, from a few
parallel passes instead of one for each step."""

_CARD = """\
# {description}

{what}

    import vssm
    model = vssm.load("{folder}")
    values = model.generate(num_samples=16, length={length}, seed=0).values

## Data

{dataset}, training split; {validation:,} examples are held out for validation.{bits}

## Measured

{begin}
Validation bound at step {step:,} of {steps:,} (averaged weights): negative ELBO {bound:.2f} nats per
sequence. Not yet evaluated on the test split: `vssm evaluate FOLDER --dataset {dataset} --card`.
{end}

## Recipe

```toml
{recipe}```
"""


def training_card(recipe: Recipe, step: int, bound: float) -> str:
    """Return the card of a checkpoint from training: `bound` is the validation ELBO (nats) at `step`."""
    return _CARD.format(
        description=recipe.model.description,
        what=_EXACT if getattr(recipe.model, "past", None) is not None else _ONE_PASS,
        folder=_FOLDER,
        length=recipe.model.length,
        dataset=recipe.data.dataset,
        validation=recipe.data.validation_examples,
        bits=_BITS if recipe.model.observation.kind == "bernoulli" else "",
        begin=_BEGIN,
        end=_END,
        step=step,
        steps=recipe.training.steps,
        bound=-bound,
        recipe=to_toml(recipe),
    )


def trained_on(folder: Path) -> str | None:
    """Return the data set that the recipe in a checkpoint's card names; None without a card or a recipe."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8")
        name = tomllib.loads(card.partition("```toml\n")[2].partition("```")[0])["data"]["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def write_measured(folder: Path, text: str) -> None:
    """Replace what a checkpoint's card says was measured; a card without that part gets it at its end."""
    path = folder / "README.md"
    card = path.read_text(encoding="utf-8") if path.exists() else "# Model\n"
    if _BEGIN not in card or _END not in card:
        card = f"{card.rstrip()}\n\n## Measured\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = card.partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.write_text(f"{before}{_BEGIN}\n{text.strip()}\n{_END}{after}", encoding="utf-8")


def hub_card(card: str, config: AnyConfig, repository: str, license: str = "") -> str:
    """The card as the hub reads it: with front matter (library, task, tags, licence), and loaded by its id there.

    What front matter already says stays, but for a licence that is given here. Raises CheckpointError if it is broken.
    """
    from huggingface_hub import ModelCard, ModelCardData
    from yaml import YAMLError

    if not card.startswith("---"):
        card = f"---\nlibrary_name: vssm\n---\n\n{card}"
    try:
        parsed = ModelCard(card.replace(f'load("{_FOLDER}")', f'load("{repository}")'))
    except (YAMLError, ValueError, TypeError) as error:
        raise CheckpointError(f"the front matter of the model card cannot be read: {error}") from None
    data = parsed.data
    assert isinstance(data, ModelCardData)
    data.library_name = data.library_name or "vssm"
    data.pipeline_tag = data.pipeline_tag or _TASKS[config.modality]
    data.tags = list(dict.fromkeys([*(data.tags or []), config.family, "state-space-model"]))
    data.license = license or data.license
    return str(parsed)
