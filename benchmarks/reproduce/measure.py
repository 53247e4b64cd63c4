"""Train one model, and measure one: figures stay in its folder and say from what they were made.

All of them but the seconds are a function of the recipe and the settings: one thread, and a seed for everything random.
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
from rich.console import Console

from benchmarks.prefix_quality import PrefixSettings
from benchmarks.prefix_quality import measure as measure_continuations
from benchmarks.reproduce.plan import Device, Experiment, parameters
from benchmarks.sample_quality import sampled
from vssm import VSSM, data
from vssm.baselines import Rival, load_any
from vssm.evaluate import evaluate
from vssm.examples import measured_with
from vssm.quality.classifier import CLASSIFIERS, Classifier, cached
from vssm.quality.report import binary, floor, measure
from vssm.recipe import to_toml
from vssm.train import train
from vssm.training.display import TrainingDisplay
from vssm.training.process import threads

SHOWN = 64
_SHOWN_LETTERS = 400
_TIMINGS = 3


@dataclass(frozen=True)
class Settings:
    """How models are measured: numbers of test examples for a bound, by task, of samples, of digits continued."""

    examples: tuple[tuple[str, int], ...] = (
        ("mnist-rows", 300),
        ("mnist-pixels", 200),
        ("cifar10-rows", 200),
        ("cifar10-pixels", 100),
        ("shakespeare", 100),
    )
    num_importance_samples: int = 64
    samples: int = 1000
    continued: int = 40
    particles: tuple[int, ...] = (1, 16)
    seed: int = 0
    device: Device = "cpu"


def train_one(experiment: Experiment, folder: Path, device: Device) -> None:
    """Train, or go on with the training that is there; its lines go into training.log."""
    where = folder / experiment.key
    where.mkdir(parents=True, exist_ok=True)
    with (where / "training.log").open("a") as log:
        display = TrainingDisplay(experiment.recipe, Console(file=log, width=150))
        train(experiment.recipe, where, device=device, display=display)


def measure_one(experiment: Experiment, folder: Path, settings: Settings) -> dict[str, Any]:
    """The figures of a trained model but its speed; from its folder where they are there already."""
    where = folder / experiment.key
    made_of = hashlib.sha256((to_toml(experiment.recipe) + repr(settings)).encode()).hexdigest()
    kept = where / "figures.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["made_of"] == made_of:
        return dict(found)
    with threads(1):
        figures = _measured(experiment, folder, settings) | {"made_of": made_of}
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def _measured(experiment: Experiment, folder: Path, settings: Settings) -> dict[str, Any]:
    where, name, seed = folder / experiment.key, experiment.recipe.data.dataset, settings.seed
    model = load_any(str(where / "best"), settings.device)
    x = measured_with(model.config, data.load(name, "test"), dict(settings.examples)[experiment.task], seed)
    bound = evaluate(model, x, num_importance_samples=settings.num_importance_samples, seed=seed)
    figures: dict[str, Any] = {"parameters": parameters(experiment.recipe), "bound": bound.as_dict()}
    if experiment.continues:
        asked = PrefixSettings(settings.continued, settings.num_importance_samples, settings.particles, seed)
        figures["continuations"] = measure_continuations(experiment.name, model, asked)
    if model.config.modality == "text":
        written = model.generate(num_samples=1, length=_SHOWN_LETTERS, seed=seed).values
        return figures | {"text": written.astype(np.uint8).tobytes().decode("utf-8", "replace")}
    if experiment.ablation or name not in CLASSIFIERS:
        return figures
    images = sampled(model, settings.samples, seed)
    np.save(where / "samples.npy", images[:SHOWN])
    return figures | {"quality": asdict(measure(images, _real(name), classifier(name, folder)))}


def classifier(name: str, folder: Path) -> Classifier:
    """The data set's classifier, trained when first needed."""
    return cached(*data.load_images(name, "train"), CLASSIFIERS[name], folder / "classifiers")


def train_classifier(name: str, folder: Path) -> None:
    """Leave the data set's classifier in its folder."""
    classifier(name, folder)


def of_real_images(name: str, folder: Path, settings: Settings) -> dict[str, Any]:
    """The figures that real training images get in the place of samples, and how often the classifier is right."""
    judge, test = classifier(name, folder), data.load_images(name, "test")
    training = data.load_images(name, "train").images
    best = floor(training, test.images, judge, settings.samples)
    np.save(folder / f"{name}-real.npy", _real(name)[:SHOWN])
    return asdict(best) | {"classifier_accuracy": judge.accuracy(_real(name), test.labels)}


def _real(name: str) -> Any:
    """Real images as a model's samples are: grey ones made of bits."""
    images = data.load_images(name, "test").images
    return binary(images, 1) if CLASSIFIERS[name].binarise else images


def seconds_for_64(experiment: Experiment, folder: Path, device: Device) -> float:
    """The best of a few timings of 64 sequences, after a warm-up, with all cores."""
    model = load_any(str(folder / experiment.key / "best"), device)
    timings = [_timed(model, seed) for seed in range(_TIMINGS + 1)]
    return min(timings[1:])


def _timed(model: VSSM | Rival, seed: int) -> float:
    start = time.perf_counter()
    if isinstance(model, VSSM):
        model.generate(num_samples=SHOWN, seed=seed, encode=False)
    else:
        model.generate(num_samples=SHOWN, seed=seed)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def records(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    """What the training wrote while it ran."""
    lines = (folder / experiment.key / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
