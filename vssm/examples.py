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
from numpy.typing import NDArray
from torch import Tensor

from vssm.batches import as_sequences, binarise, generator
from vssm.config import SequenceConfig
from vssm.data import Data, Images, Series
from vssm.recipe import Recipe, RecipeError
from vssm.scaling import measure, normalise


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
    count, seed, size = recipe.data.validation_examples, recipe.training.seed, recipe.training.batch_size
    try:
        if isinstance(source, Images):
            x = _image_sequences(recipe.model, source)
            if held_out is None:
                x, last = _split(x, count)
            else:
                assert isinstance(held_out, Images)
                last = _image_sequences(recipe.model, held_out)[-count:]
            bits = recipe.model.observation.kind == "bernoulli"
            flipped = recipe.model.image if recipe.data.mirrored else None
            training: Source = ImageBatches(x, size, seed, bits, flipped.width if flipped else None)
            return Examples(training, _held_out_images(recipe.model, last, seed))
        values = _as_run(recipe.model, source)
        if held_out is None:
            values, last = _split(values, count * recipe.model.length)
        else:
            last = _as_run(recipe.model, held_out)
        scaled = recipe.model.scaling == "prefix"
        return Examples(
            WindowBatches(values, recipe.model.length, size, seed, scaled), windows(recipe.model, last, count)
        )
    except ValueError as error:
        raise RecipeError(str(error)) from error


def measured_with(model: SequenceConfig, source: Data, limit: int | None, seed: int) -> Tensor:
    """What a model is measured with, (n, length, size): the first `limit` images, or `limit` windows over all of it.

    Raises: ValueError when the data do not fit, or nothing is left.
    """
    if limit is not None and limit < 1:
        raise ValueError("at least one example is needed to evaluate on")
    if not isinstance(source, Images):
        return windows(model, _as_run(model, source), limit)
    x = _image_sequences(model, source)
    if not len(x):
        raise ValueError("at least one example is needed to evaluate on")
    bits = model.observation.kind == "bernoulli"
    return binarise(x, generator(seed, "evaluation binarise"))[:limit] if bits else x[:limit]


def windows(model: SequenceConfig, values: Tensor, count: int | None) -> Tensor:
    """`count` windows (count, length, size), evenly spread over a run of values (n, size); by default side by side."""
    last = len(values) - model.length
    if last < 0:
        raise ValueError(f"{len(values)} steps are fewer than the model's length {model.length}")
    most = 1 + last // model.length
    starts = torch.linspace(0, last, count).long() if count else model.length * torch.arange(most)
    x = values[starts[:, None] + torch.arange(model.length)]
    return _normalised(x, model.length // 2) if model.scaling == "prefix" else x


class ImageBatches:
    """Every epoch in its own order, binarised anew each time where the model reads bits."""

    def __init__(self, sequences: Tensor, batch_size: int, seed: int, bits: bool, mirrored: int | None = None) -> None:
        if batch_size > len(sequences):
            raise ValueError(f"batch_size {batch_size} is larger than the {len(sequences)} training examples")
        self.steps_per_epoch = len(sequences) // batch_size
        self._sequences, self._batch_size, self._seed = sequences, batch_size, seed
        self._bits, self._mirrored = bits, mirrored
        self._order = torch.empty(0, dtype=torch.int64)
        self._epoch = -1

    def batch(self, step: int) -> Tensor:
        """float32 (batch, length, size) of zeros and ones, or uint8 levels."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            random = generator(self._seed, "order", epoch)
            self._order, self._epoch = torch.randperm(len(self._sequences), generator=random), epoch
        chosen = self._sequences[self._order[place * self._batch_size : (place + 1) * self._batch_size]]
        if self._mirrored:
            chosen = self._mirror(chosen, step)
        return binarise(chosen, generator(self._seed, "binarise", step)) if self._bits else chosen

    def _mirror(self, x: Tensor, step: int) -> Tensor:
        """Half of the images, drawn for each step, with left and right changed."""
        rows = x.view(len(x), -1, self._mirrored or 1, self._channels(x))
        chosen = torch.rand(len(x), generator=generator(self._seed, "mirror", step)) < 0.5
        return torch.where(chosen[:, None, None, None], rows.flip(2), rows).view(x.shape)

    def _channels(self, x: Tensor) -> int:
        pixels = x[0].numel()
        return 3 if pixels % (3 * (self._mirrored or 1)) == 0 and pixels // 3 % (self._mirrored or 1) == 0 else 1


class WindowBatches:
    """Windows that begin anywhere in one run of values (n, size)."""

    def __init__(self, values: Tensor, length: int, batch_size: int, seed: int, scaled: bool) -> None:
        if len(values) < length:
            raise ValueError(f"{len(values)} steps to train on are fewer than the model's length {length}")
        self._values, self._length, self._batch_size, self._seed, self._scaled = (
            values,
            length,
            batch_size,
            seed,
            scaled,
        )

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


def _split(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if count >= len(x):
        raise ValueError(f"data.validation_examples: holding out {count} of {len(x)} leaves nothing to train on")
    return x[:-count], x[-count:]


def _image_sequences(model: SequenceConfig, source: Images) -> Tensor:
    if model.modality != "image":
        raise ValueError(f"model.modality: {model.modality} models do not read images")
    return as_sequences(source.images, model.length, model.size)


def _held_out_images(model: SequenceConfig, x: Tensor, seed: int) -> Tensor:
    """Bits drawn once, or the levels."""
    bits = model.observation.kind == "bernoulli"
    return binarise(x, generator(seed, "validation binarise")) if bits else x


def _as_run(model: SequenceConfig, source: Data) -> Tensor:
    """Text or a series as values (n, size) of the model's dtype."""
    if isinstance(source, Series):
        if model.modality != "series" or model.size != source.values.shape[1]:
            raise ValueError(
                f"model.modality, model.size: the series has {source.values.shape[1]} channels; "
                f"the model reads {model.modality} of size {model.size}"
            )
        return torch.from_numpy(source.values)
    values: NDArray[np.uint8] = source[0]
    if model.modality != "text" or getattr(model.observation, "classes", 0) <= int(values.max(initial=0)):
        raise ValueError("model.modality, model.observation: text needs modality 'text' and 256 classes")
    return torch.from_numpy(values.astype(np.int64))[:, None]
