"""The classifier learns, is the same every time, and is kept only for its own data and settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from vssm.data import Images
from vssm.quality.classifier import Classifier, ClassifierSettings, Pixels, cached, train
from vssm.quality.report import binary

TINY = ClassifierSettings(steps=30, batch_size=16, widths=(4, 8), num_features=6, binarise=True)
COLOUR = ClassifierSettings(steps=30, batch_size=16, widths=(4,), num_features=6, mirror=True)


def colours(count: int) -> tuple[Pixels, Pixels]:
    """Noisy reddish, greenish and bluish images, 8 x 8."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, count).astype(np.uint8)
    images = random.integers(0, 120, (count, 8, 8, 3)).astype(np.uint8)
    images[np.arange(count), ..., labels] += 100
    return images, labels


def test_it_learns_binary_images(images: Images) -> None:
    classifier = train(*images, TINY)
    drawn = binary(images.images, 3)
    assert classifier.accuracy(drawn, images.labels) > 0.95
    features, probabilities = classifier.features(drawn), classifier.probabilities(drawn)
    assert features.shape == (100, 6)
    assert features.dtype == np.float64
    assert probabilities.shape == (100, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_it_learns_colours_and_features_do_not_depend_on_neighbours() -> None:
    classifier = train(*colours(200), COLOUR)
    images, labels = colours(700)
    assert classifier.accuracy(images, labels) > 0.95
    np.testing.assert_allclose(classifier.features(images)[690:], classifier.features(images[690:]), atol=1e-5)


def test_another_process_trains_the_same_classifier(images: Images, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", *images)
    code = (
        "import sys, numpy as np, torch; from vssm.quality.classifier import *; torch.manual_seed(9); "
        "a = np.load(sys.argv[1]); settings = ClassifierSettings.model_validate_json(sys.argv[2]); "
        "c = train(a['arr_0'], a['arr_1'], settings); print(c.features(a['arr_0']).tobytes().hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data.npz"), TINY.model_dump_json()]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == train(*images, TINY).features(images.images).tobytes().hex()


def test_it_is_trained_once_and_anew_when_anything_differs(images: Images, tmp_path: Path) -> None:
    steps: list[int] = []

    def get(settings: ClassifierSettings = TINY, pixels: Pixels = images.images) -> Classifier:
        steps.clear()
        return cached(pixels, images.labels, settings, tmp_path / "new", lambda step, _loss: steps.append(step))

    first = get().features(images.images)
    assert steps == list(range(1, 31))
    np.testing.assert_array_equal(get().features(images.images), first)
    assert not steps
    (stored,) = (tmp_path / "new").glob("*.safetensors")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    np.testing.assert_array_equal(get().features(images.images), first)
    assert steps, "damaged weights were used"
    get(TINY.model_copy(update={"seed": 1}))
    assert steps, "weights of another seed were used"
    get(pixels=255 - images.images)
    assert steps, "weights of other images were used"


def test_bad_images_and_settings_are_refused(images: Images) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ClassifierSettings.model_validate({**TINY.model_dump(), "epochs": 3})
    with pytest.raises(ValueError, match="one batch of 16"):
        train(images.images[:9], images.labels[:9], TINY)
    with pytest.raises(ValueError, match="too small for 2 stages"):
        train(images.images[:, :3, :3], images.labels, TINY)
    classifier = train(*images, TINY.model_copy(update={"steps": 1}))
    with pytest.raises(ValueError, match=r"float64 \(100, 8, 8\): needed are uint8 \(n, 8, 8\)"):
        classifier.features(images.images / 255)  # type: ignore[arg-type]
