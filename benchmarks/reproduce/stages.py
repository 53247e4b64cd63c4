"""Train one model, measure one model: each leaves files that say from what they were made, and is not done twice.

All figures but the seconds are a function of the recipe and the settings: one thread, seeds for everything.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reproduce.plan import Experiment, parameters
from vssm import VSSM, baselines, checkpoint
from vssm import data as library
from vssm.baselines import Rival
from vssm.evaluate import evaluate
from vssm.examples import measured_with
from vssm.pictures import grid, png
from vssm.quality.classifier import CLASSIFIERS, Classifier, cached
from vssm.quality.report import binary, floor, measure
from vssm.recipe import to_toml
from vssm.train import train
from vssm.training.process import threads

SHOWN = 64


@dataclass(frozen=True)
class Settings:
    """How models are measured: test examples for the bound, K, samples for their quality, repetitions of a timing."""

    examples: int = 1000
    num_importance_samples: int = 64
    samples: int = 2000
    seed: int = 0
    device: str = "cpu"


def train_one(experiment: Experiment, folder: Path, device: str) -> Path:
    """Train, or go on; returns the checkpoint."""
    result = train(experiment.recipe, folder / experiment.key, device=device)
    return result.checkpoint


def measure_one(experiment: Experiment, folder: Path, settings: Settings) -> dict[str, Any]:
    """The figures of a trained model but its speed; from a file where they are there already."""
    where = folder / experiment.key
    made_of = hashlib.sha256((to_toml(experiment.recipe) + repr(settings)).encode()).hexdigest()
    kept = where / "figures.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["made_of"] == made_of:
        return dict(found)
    with threads(1):
        figures = _measured(experiment, where, folder, settings)
    kept.write_text(json.dumps(figures | {"made_of": made_of}, indent=1))
    return figures | {"made_of": made_of}


def _measured(experiment: Experiment, where: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    model = load(where / "best", settings.device)
    name = experiment.recipe.data.dataset
    test = library.load_images(name, "test")
    x = measured_with(model.config, test, settings.examples, settings.seed)
    bound = evaluate(model, x, num_importance_samples=settings.num_importance_samples, seed=settings.seed)
    figures: dict[str, Any] = {"bound": bound.as_dict(), "parameters": parameters(experiment.recipe)}
    if experiment.ablation:
        return figures
    images = sampled(model, settings.samples, settings.seed)
    (where / "samples.png").write_bytes(png(grid(images[:SHOWN])))
    np.save(where / "samples.npy", images[:SHOWN])
    real = comparable(test.images, settings.seed)
    return figures | {"quality": asdict(measure(images, real, classifier(name, folder)))}


def load(folder: Path, device: str) -> VSSM | Rival:
    """A trained model of whatever family."""
    config = checkpoint.read_config(folder)
    return baselines.load(folder, device) if config.family != "vssm" else checkpoint.load(folder, device)


def generate(model: VSSM | Rival, count: int, seed: int) -> NDArray[Any]:
    """Values (count, length, size); a VSSM's state is not needed later."""
    if isinstance(model, VSSM):
        return model.generate(num_samples=count, seed=seed, encode=False).values
    return model.generate(num_samples=count, seed=seed).values


def sampled(model: VSSM | Rival, count: int, seed: int, at_once: int = 250) -> NDArray[np.uint8]:
    """Images uint8 (count, height, width[, 3]) in 0..255."""
    image = model.config.image
    assert image is not None
    parts = [generate(model, min(at_once, count - done), seed + done) for done in range(0, count, at_once)]
    values = np.concatenate(parts).astype(np.uint8)
    scaled = values * 255 if model.config.observation.kind == "bernoulli" else values
    shape = (count, image.height, image.width) + ((3,) if image.channels == 3 else ())
    return np.ascontiguousarray(scaled).reshape(shape)


def comparable(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Real images as a model's samples are: grey ones made of bits."""
    return binary(images, seed) if images.ndim == 3 else images


def classifier(name: str, folder: Path) -> Classifier:
    """The data set's classifier, trained when first needed."""
    training = library.load_images(name, "train")
    return cached(training.images, training.labels, CLASSIFIERS[name], folder / "classifiers")


def best_possible(name: str, folder: Path, settings: Settings) -> dict[str, Any]:
    """The figures of sample quality that real images get."""
    train_images, test = (library.load_images(name, split).images for split in ("train", "test"))
    return asdict(floor(train_images, test, classifier(name, folder), settings.samples))


def seconds_for_64(experiment: Experiment, folder: Path, settings: Settings, repetitions: int = 3) -> float:
    """The best of a few timings of 64 sequences, after a warm-up."""
    model = load(folder / experiment.key / "best", settings.device)
    timings = []
    with torch.no_grad():
        for seed in range(repetitions + 1):
            start = time.perf_counter()
            generate(model, SHOWN, seed)
            timings.append(time.perf_counter() - start)
    return min(timings[1:])


def training_minutes(experiment: Experiment, folder: Path) -> float:
    """Wall-clock minutes of the training loop, as it recorded them."""
    return records(experiment, folder)[-1]["seconds"] / 60


def records(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    """What the training wrote while it ran."""
    lines = (folder / experiment.key / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
