"""Sample quality tells good samples from bad ones, and gives the same figures every time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.vssm.conftest import make_images
from vssm.data import Images
from vssm.quality.classifier import Classifier, ClassifierSettings, Pixels, train
from vssm.quality.report import binary, floor, measure

SETTINGS = ClassifierSettings(steps=40, batch_size=32, widths=(4, 8), num_features=6, binarise=True)


@pytest.fixture(scope="module")
def data() -> Images:
    return make_images(400)


@pytest.fixture(scope="module")
def classifier(data: Images) -> Classifier:
    return train(*data, SETTINGS)


@pytest.fixture(scope="module")
def real(data: Images) -> Pixels:
    return binary(data.images[200:], 1)


def test_the_floor_is_near_perfect_and_a_copy_is_perfect(data: Images, classifier: Classifier, real: Pixels) -> None:
    best = floor(data.images[:200], data.images[200:], classifier, 150)
    assert min(best.precision, best.recall) > 0.8
    assert best.class_entropy == pytest.approx(np.log(2), abs=0.05)
    assert best.num_samples == 150
    assert best == floor(data.images[:200], data.images[200:], classifier, 150)
    copy = measure(real, real, classifier)
    assert (copy.precision, copy.recall) == (1, 1)
    assert copy.frechet_distance == pytest.approx(0, abs=1e-6)


def test_bad_samples_are_told_from_good_ones(data: Images, classifier: Classifier, real: Pixels) -> None:
    best = floor(data.images[:200], data.images[200:], classifier, 100)
    noise = measure(binary(np.full((100, 8, 8), 128, np.uint8), 2), real, classifier)
    assert noise.frechet_distance > 10 * best.frechet_distance
    assert noise.precision < 0.5
    one_class = data.images[:200][data.labels[:200] == 0]
    dropped = measure(binary(one_class, 2), real, classifier)
    assert dropped.recall < 0.7 < dropped.precision
    assert dropped.class_entropy < 0.4 < best.class_entropy
    assert dropped.frechet_distance > 10 * best.frechet_distance


def test_wrong_images_are_refused(data: Images, classifier: Classifier, real: Pixels) -> None:
    with pytest.raises(ValueError, match="the real images have values other than 0 and 255"):
        measure(real, data.images, classifier)
    with pytest.raises(ValueError, match="200 samples need as many real images, not 100"):
        measure(real, real[:100], classifier)
    with pytest.raises(ValueError, match="only 9 training images"):
        floor(data.images[:9], data.images, classifier, 10)
