"""The sample quality of one set of images against real ones, and what the same figures are for real images.

`measure(samples, test, classifier)` is a model's row of the table; `floor(train, test, classifier, 10_000)` is what a
perfect model's row looks like with as many images. Read the figures together: images far from all data can fall among
one class and keep some precision, but then recall is near 0 and the Frechet distance large. The time is quadratic in
the number of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vssm.batches import binarise, derive_seed, generator
from vssm.quality.classifier import Classifier, Pixels
from vssm.quality.distances import class_entropy, frechet_distance, precision_recall
from vssm.training.process import threads


@dataclass(frozen=True)
class SampleQuality:
    """Figures of `num_samples` samples and as many real images, in the features of one classifier."""

    frechet_distance: float
    """In the features' own scale, comparable between rows of one classifier and number only; lower is better."""
    precision: float
    """Share of samples that look real, 0..1."""
    recall: float
    """Share of real images that the samples reach, 0..1."""
    class_entropy: float
    """Entropy, in nats, of the mean class distribution of the samples; best where it is that of real images."""
    num_samples: int


def measure(samples: Pixels, real: Pixels, classifier: Classifier, neighbours: int = 3) -> SampleQuality:
    """Compare samples with the first len(samples) real images, both uint8 (n, *classifier.shape) in 0..255.

    Binary models' samples are 0 and 255, and the real images beside them must be binary too (`binary`).
    Raises: ValueError when images do not fit the classifier, or there are fewer real images than samples.
    """
    if len(real) < len(samples):
        raise ValueError(f"{len(samples)} samples need as many real images, not {len(real)}: give fewer samples")
    real = real[: len(samples)]
    if classifier.settings.binarise:
        _check_binary(samples, "samples")
        _check_binary(real, "real images")
    ours, theirs = classifier.features(samples), classifier.features(real)
    with threads(classifier.settings.threads):
        found = precision_recall(ours, theirs, neighbours)
        distance = frechet_distance(ours, theirs)
    entropy = class_entropy(classifier.probabilities(samples))
    return SampleQuality(distance, found.precision, found.recall, entropy, len(samples))


def floor(train: Pixels, real: Pixels, classifier: Classifier, num_samples: int) -> SampleQuality:
    """Return `measure` of real training images in the place of samples: the figures of a perfect model.

    Grey images are made binary first where the classifier is one of binary images.
    Raises: ValueError when there are fewer than `num_samples` of either.
    """
    if len(train) < num_samples:
        raise ValueError(f"{num_samples} images are wanted, but there are only {len(train)} training images")
    chosen = np.random.default_rng(derive_seed(classifier.settings.seed, "floor")).permutation(len(train))
    samples = train[np.sort(chosen[:num_samples])]
    if classifier.settings.binarise:
        samples, real = binary(samples, 0), binary(real, 1)
    return measure(samples, real, classifier)


def binary(images: Pixels, seed: int) -> Pixels:
    """Draw each value of grey images as 255 with probability value / 255, else 0."""
    bits = binarise(torch.tensor(images), generator(seed, "quality binarise"))
    return (bits * 255).byte().numpy()


def _check_binary(images: Pixels, what: str) -> None:
    if ((images != 0) & (images != 255)).any():
        raise ValueError(f"the {what} have values other than 0 and 255, the classifier is of binary images: binarise")
