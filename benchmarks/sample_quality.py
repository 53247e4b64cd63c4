"""How good sampled images are: Frechet distance, precision, recall and class entropy, beside those of real images.

The features are those of the data set's small classifier (`vssm.quality`), which is trained first, and kept. The time
is quadratic in the number of samples: 10,000 take about two minutes on one core. Prints a Markdown table and writes
benchmarks/results/sample_quality-DATASET.json; without a model only what real images get.

    python -m benchmarks.sample_quality mnist
    python -m benchmarks.sample_quality runs/cifar10/best runs/transformer/best --dataset cifar10 --samples 2000
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from vssm import VSSM, data
from vssm.baselines import Rival, load_any
from vssm.pictures import Pixels, as_images
from vssm.quality.classifier import CLASSIFIERS, cached
from vssm.quality.report import SampleQuality, binary, floor, measure

RESULTS = Path(__file__).parent / "results"
_AT_ONCE = 250


def sampled(model: VSSM | Rival, count: int, seed: int) -> Pixels:
    """`count` images uint8 (n, height, width[, 3]) in 0..255; raises ValueError when the model makes none."""
    image, white = model.config.image, model.observation.describe()["high"]
    if image is None or white is None:
        raise ValueError("this model does not make pictures")
    parts = [
        model.generate(num_samples=min(_AT_ONCE, count - done), seed=seed + done).values
        for done in range(0, count, _AT_ONCE)
    ]
    return as_images(np.concatenate(parts), image.height, image.width, image.channels, white)


def main() -> None:
    """Measure all models, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of shipped models or folders, rivals too")
    parser.add_argument("--dataset", choices=sorted(CLASSIFIERS), default="mnist")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classifiers", type=Path, default=data.data_folder() / "classifiers")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        train, test = (data.load_images(options.dataset, split) for split in ("train", "test"))
        classifier = cached(*train, CLASSIFIERS[options.dataset], options.classifiers)
        real = binary(test.images, 1) if classifier.settings.binarise else test.images
        rows = {"real training images": floor(train.images, test.images, classifier, options.samples)}
        for name in options.models:
            rows[name] = measure(sampled(load_any(name), options.samples, options.seed), real, classifier)
    except ValueError as error:
        sys.exit(f"error: {error}")
    accuracy = classifier.accuracy(real, test.labels)
    print(f"classifier: {accuracy:.2%} of the test images right\n\n{table(rows)}")
    about = {"dataset": options.dataset, "seed": options.seed, "classifier_accuracy": accuracy, "machine": machine()}
    (options.out / f"sample_quality-{options.dataset}.json").write_text(
        json.dumps({**about, "rows": {name: asdict(row) for name, row in rows.items()}}, indent=2) + "\n"
    )


def table(rows: dict[str, SampleQuality]) -> str:
    """Markdown, a line for each model."""
    lines = ["| samples of | Frechet distance | precision | recall | class entropy, nats |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        figures = f"{row.frechet_distance:.2f} | {row.precision:.3f} | {row.recall:.3f} | {row.class_entropy:.3f}"
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
