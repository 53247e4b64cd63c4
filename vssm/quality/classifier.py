"""A small convolutional classifier whose last hidden layer gives the features that image sets are compared in.

Training is a pure function of images, labels and settings, a few minutes at most on one core: every batch, mirror and
binarisation is drawn from (seed, step). `cached` keeps the result in a folder. Nothing here knows about generation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from vssm.batches import EpochOrder, binarise, derive_seed, generator
from vssm.training.process import threads

Pixels = NDArray[np.uint8]
Figures = NDArray[np.float64]
Report = Callable[[int, float], None]  # (steps done, loss of the last one in nats)
Count = Annotated[int, Field(ge=1)]

FORMAT_VERSION = 1
_BATCH = 500


class ClassifierSettings(BaseModel):
    """How a classifier is built and trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Count
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    """The highest one, of AdamW: reached after a quarter of the steps, then lowered along a half cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    widths: tuple[Count, ...]
    """Channels of each stage; every stage halves height and width."""
    num_features: Count = 64
    binarise: bool = False
    """Draw every pixel as black or white anew in each batch, for models of binary images."""
    mirror: bool = False
    """Mirror half of the images left to right."""
    threads: Count = 1
    """Threads of computation; another number can change the last bits of the result."""


CLASSIFIERS = {
    "mnist": ClassifierSettings(steps=900, widths=(16, 32, 64), binarise=True),
    "cifar10": ClassifierSettings(steps=1170, widths=(32, 64, 128), mirror=True),
}
"""The settings for each image data set."""


class Classifier:
    """A trained classifier of images uint8 (n, *shape) in 0..255; `shape` is (height, width) or (height, width, 3)."""

    def __init__(self, settings: ClassifierSettings, shape: tuple[int, ...], network: nn.Sequential) -> None:
        self.settings, self.shape, self.network = settings, shape, network.eval()

    def features(self, images: Pixels) -> Figures:
        """Return the values of the last hidden layer, (n, num_features)."""
        return self._run(images, self.network[:-1])

    def probabilities(self, images: Pixels) -> Figures:
        """Return the probability of each class, (n, classes)."""
        return self._run(images, nn.Sequential(self.network, nn.Softmax(1)))

    def accuracy(self, images: Pixels, labels: NDArray[np.uint8]) -> float:
        """Return the share of images whose most probable class is their label."""
        return float((self.probabilities(images).argmax(1) == labels).mean())

    @torch.inference_mode()
    def _run(self, images: Pixels, network: nn.Module) -> Figures:
        _check_images(images, self.shape)
        with threads(self.settings.threads):
            parts = [network(_planes(torch.tensor(part)) / 255 - 0.5) for part in _cut(images)]
        return np.concatenate([part.double().numpy() for part in parts])


def train(
    images: Pixels, labels: NDArray[np.uint8], settings: ClassifierSettings, report: Report | None = None
) -> Classifier:
    """Train a classifier on images uint8 (n, height, width[, 3]) and labels (n,) in 0..classes-1.

    Raises: ValueError when the images are too few or too small for the settings.
    """
    _check_images(images, images.shape[1:])
    if len(labels) != len(images) or settings.batch_size > len(images):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: needed are as many of both, "
            f"and at least one batch of {settings.batch_size}"
        )
    shape, classes = images.shape[1:], int(labels.max()) + 1
    network = _network(settings, shape, classes)
    with threads(settings.threads):
        _fit(network.train(), _planes(torch.tensor(images)), torch.tensor(labels).long(), settings, report)
    return Classifier(settings, shape, network)


def cached(
    images: Pixels,
    labels: NDArray[np.uint8],
    settings: ClassifierSettings,
    folder: Path,
    report: Report | None = None,
) -> Classifier:
    """Return `train`'s classifier from `folder`, training and keeping it there when it is missing or damaged.

    One of other settings, images or labels is another file, so none is ever used for the wrong data.
    """
    classes = int(labels.max()) + 1
    document = {
        "format_version": FORMAT_VERSION,
        "settings": settings.model_dump(mode="json"),
        "shape": list(images.shape[1:]),
        "classes": classes,
        "data_sha256": hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
    }
    key = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"classifier-{key}"
    network = _network(settings, images.shape[1:], classes)
    if _read(path, document, network):
        return Classifier(settings, images.shape[1:], network)
    classifier = train(images, labels, settings, report)
    _write(path, document, classifier.network)
    return classifier


def _check_images(images: Pixels, shape: tuple[int, ...]) -> None:
    colour_or_grey = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if images.dtype != np.uint8 or images.shape[1:] != shape or not colour_or_grey or len(images) == 0:
        raise ValueError(
            f"images are {images.dtype} {images.shape}: needed are uint8 (n, {', '.join(map(str, shape))}), n > 0"
        )


def _cut(images: Pixels) -> list[Pixels]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _planes(images: Tensor) -> Tensor:
    """(n, height, width[, 3]) -> (n, channels, height, width), a view."""
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)


def _network(settings: ClassifierSettings, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Stages of convolution, batch norm and pooling, the hidden layer of the features, the layer of the classes.

    Raises: ValueError when the stages would leave no pixel of such a small image.
    """
    stages = len(settings.widths)
    height, width = shape[0] >> stages, shape[1] >> stages
    if min(height, width) < 1:
        raise ValueError(f"images of {shape[0]} x {shape[1]} are too small for {stages} stages that halve them")
    with torch.random.fork_rng(devices=[]):  # torch draws first weights from the global generator only
        torch.default_generator.manual_seed(derive_seed(settings.seed, "classifier weights"))
        layers: list[nn.Module] = []
        channels = 3 if len(shape) == 3 else 1
        for out in settings.widths:
            convolution = nn.Conv2d(channels, out, 3, padding=1, bias=False)
            layers += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        hidden = nn.Linear(channels * height * width, settings.num_features)
        last = nn.Linear(settings.num_features, classes)
        body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.ReLU())
        return nn.Sequential(body, last)


def _fit(
    network: nn.Sequential, planes: Tensor, labels: Tensor, settings: ClassifierSettings, report: Report | None
) -> None:
    rate = settings.learning_rate
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=settings.weight_decay)
    schedule = OneCycleLR(optimizer, rate, total_steps=max(settings.steps, 2), pct_start=0.25)
    order = EpochOrder(len(planes), settings.batch_size, settings.seed, "classifier order")
    for step in range(settings.steps):
        chosen = order.chosen(step)
        loss = cross_entropy(network(_varied(planes[chosen], step, settings)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if report is not None:
            report(step + 1, loss.item())


def _varied(planes: Tensor, step: int, settings: ClassifierSettings) -> Tensor:
    """A batch as the network sees it in training: uint8 -> float32 in -0.5..0.5, mirrored or binarised if set."""
    random = generator(settings.seed, "classifier variation", step)
    if settings.mirror:
        mirrored = torch.rand(len(planes), 1, 1, 1, generator=random) < 0.5
        planes = torch.where(mirrored, planes.flip(3), planes)
    values = binarise(planes, random) if settings.binarise else planes / 255
    return values - 0.5


def _read(path: Path, document: dict[str, Any], network: nn.Module) -> bool:
    """Fill the network from the two files; False when they are missing, cut or do not belong together."""
    try:
        weights = path.with_suffix(".safetensors").read_bytes()
        stored = json.loads(path.with_suffix(".json").read_text())
        if stored != {**document, "weights_sha256": hashlib.sha256(weights).hexdigest()}:
            return False
        network.load_state_dict(load(weights), strict=True)
    except (OSError, ValueError, SafetensorError, RuntimeError):
        return False
    return True


def _write(path: Path, document: dict[str, Any], network: nn.Module) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    whole = {**document, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    path.with_suffix(".safetensors").write_bytes(weights)  # a kill between the two leaves a wrong checksum
    path.with_suffix(".json").write_text(json.dumps(whole, indent=2) + "\n")
