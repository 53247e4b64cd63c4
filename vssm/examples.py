"""Examples as a model reads them: sequences (n, length, size) of a data set, to train on and to measure with.

    images   cut row by row; bits drawn from the grey values (dynamic binarisation) or the levels as they are
    text     windows of `length` bytes
    series   windows of `length` steps; each is normalised by its first steps where the model asks for it, as
             generation does with a prefix: half of the window, at training anything from a quarter to three quarters

Everything random is a pure function of the seed and the step, so that a training can stop and go on anywhere.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vssm.batches import EpochOrder, as_sequences, binarise, generator
from vssm.config import Categorical, Image, SequenceConfig
from vssm.data import Data, Images, Series
from vssm.recipe import Recipe, RecipeError
from vssm.scaling import measure, normalise

_PLURAL = {"image": "images", "series": "series", "text": "text"}


class Source(Protocol):
    """Where batches come from."""

    def batch(self, step: int) -> Tensor:
        """The examples of a training step, (batch, length, size)."""


class Examples(NamedTuple):
    """Batches to train on, and sequences held out (n, length, size)."""

    training: Source
    validation: Tensor


def examples(recipe: Recipe, source: Data, held_out: Data | None) -> Examples:
    """What a recipe trains on and validates with.

    `held_out` is a validation split; without one the last `validation_examples` images, or as much of the end of a
    text or series as as many windows need, are held out.
    Raises: RecipeError when the data do not fit.
    """
    try:
        x = _read(recipe.model, source)
        last = None if held_out is None else _read(recipe.model, held_out)
        return _of_images(recipe, x, last) if isinstance(source, Images) else _of_run(recipe, x, last)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _of_images(recipe: Recipe, x: Tensor, last: Tensor | None) -> Examples:
    """From sequences (n, length, size)."""
    model, count, training = recipe.model, recipe.data.validation_examples, recipe.training
    x, last = _split(x, count, "examples") if last is None else (x, last[-count:])
    mirrored = model.image if recipe.data.mirrored else None
    try:
        batches = ImageBatches(x, training.batch_size, training.seed, _of_bits(model), mirrored)
    except ValueError as error:
        raise RecipeError(f"training.batch_size: {error}") from error
    return Examples(batches, _drawn(model, last, training.seed, "validation binarise"))


def _of_run(recipe: Recipe, values: Tensor, last: Tensor | None) -> Examples:
    """From one run of values (n, size)."""
    model, count, training = recipe.model, recipe.data.validation_examples, recipe.training
    values, last = _split(values, count * model.length, "steps") if last is None else (values, last)
    if len(last) < model.length:
        raise ValueError(
            f"validation has {len(last)} steps, fewer than the model's length {model.length}: "
            "give it more, or make model.length smaller"
        )
    batches = WindowBatches(values, model.length, training.batch_size, training.seed, model.scaling == "prefix")
    return Examples(batches, windows(model, last, count))


def measured_with(model: SequenceConfig, source: Data, limit: int | None, seed: int) -> Tensor:
    """What a model is measured with, (n, length, size): the first `limit` images, or `limit` windows over all of it.

    Raises: ValueError when the data do not fit, or nothing is left.
    """
    if limit is not None and limit < 1:
        raise ValueError("at least one example is needed to evaluate on")
    x = _read(model, source)
    if not isinstance(source, Images):
        return windows(model, x, limit)
    if not len(x):
        raise ValueError("at least one example is needed to evaluate on")
    return _drawn(model, x, seed, "evaluation binarise")[:limit]


def windows(model: SequenceConfig, values: Tensor, count: int | None) -> Tensor:
    """`count` windows (count, length, size), evenly spread over a run of values (n, size); by default side by side."""
    last = len(values) - model.length
    if last < 0:
        raise ValueError(f"{len(values)} steps are fewer than the model's length {model.length}")
    starts = torch.linspace(0, last, count).long() if count else torch.arange(0, last + 1, model.length)
    x = values[starts[:, None] + torch.arange(model.length)]
    return _normalised(x, model.length // 2) if model.scaling == "prefix" else x


class ImageBatches:
    """Every epoch in its own order, binarised anew each time where the model reads `bits`; `mirrored` at random."""

    def __init__(
        self, sequences: Tensor, batch_size: int, seed: int, bits: bool, mirrored: Image | None = None
    ) -> None:
        self._order = EpochOrder(len(sequences), batch_size, seed)
        self._sequences, self._seed, self._bits, self._mirrored = sequences, seed, bits, mirrored

    def batch(self, step: int) -> Tensor:
        """float32 (batch, length, size) of zeros and ones, or uint8 levels."""
        x = self._sequences[self._order.chosen(step)]
        if self._mirrored is not None:
            x = self._mirror(x, self._mirrored, step)
        return binarise(x, generator(self._seed, "binarise", step)) if self._bits else x

    def _mirror(self, x: Tensor, image: Image, step: int) -> Tensor:
        """Half of the images, drawn for each step, with left and right changed."""
        pixels = x.view(len(x), image.height, image.width, image.channels)
        chosen = torch.rand(len(x), 1, 1, 1, generator=generator(self._seed, "mirror", step)) < 0.5
        return torch.where(chosen, pixels.flip(2), pixels).view(x.shape)


class WindowBatches:
    """Windows that begin anywhere in one run of values (n, size), normalised where they are to be `scaled`."""

    def __init__(self, values: Tensor, length: int, batch_size: int, seed: int, scaled: bool) -> None:
        if len(values) < length:
            raise ValueError(f"{len(values)} steps to train on are fewer than the model's length {length}")
        self._values, self._length, self._scaled = values, length, scaled
        self._batch_size, self._seed = batch_size, seed

    def batch(self, step: int) -> Tensor:
        """(batch, length, size) in the values' dtype."""
        random = generator(self._seed, "windows", step)
        starts = torch.randint(len(self._values) - self._length + 1, (self._batch_size,), generator=random)
        x = self._values[starts[:, None] + torch.arange(self._length)]
        if not self._scaled:
            return x
        context = torch.randint(max(1, self._length // 4), max(2, 3 * self._length // 4), (), generator=random)
        return _normalised(x, int(context))


def _normalised(x: Tensor, context: int) -> Tensor:
    scales = [measure(window[: max(1, context)].numpy()) for window in x]
    return normalise(x, torch.from_numpy(np.stack(scales)))


def _split(x: Tensor, count: int, what: str) -> tuple[Tensor, Tensor]:
    if count >= len(x):
        raise ValueError(f"data.validation_examples: {count} of {len(x)} {what} leave none to train on")
    return x[:-count], x[-count:]


def _of_bits(model: SequenceConfig) -> bool:
    return model.observation.kind == "bernoulli"


def _drawn(model: SequenceConfig, x: Tensor, seed: int, purpose: str) -> Tensor:
    """Images as the model reads them: bits drawn once, or the levels."""
    return binarise(x, generator(seed, purpose)) if _of_bits(model) else x


def _read(model: SequenceConfig, source: Data) -> Tensor:
    """Images as sequences (n, length, size), text or a series as one run (n, size) of the model's dtype."""
    kind = {Images: "image", Series: "series"}.get(type(source), "text")
    if model.modality != kind:
        raise ValueError(f"model.modality: {model.modality} models do not read {_PLURAL[kind]}")
    if isinstance(source, Images):
        try:
            return as_sequences(source.images, model.length, model.size)
        except ValueError as error:
            raise ValueError(f"model.length, model.size: {error}") from error
    if isinstance(source, Series):
        if model.size != source.values.shape[1]:
            raise ValueError(f"model.size: the series has {source.values.shape[1]} channels, not {model.size}")
        return torch.from_numpy(source.values)
    if isinstance(model.observation, Categorical) and model.observation.classes <= int(source.values.max(initial=0)):
        raise ValueError("model.observation: bytes of text need 256 classes")
    return torch.from_numpy(source.values.astype(np.int64))[:, None]
