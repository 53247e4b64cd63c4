"""Measure how far completions of MNIST digits depend on the prefix.

The top rows of test digits are the prefix; the mean of several completions should be nearer to the digit's own
lower rows than to another digit's. Prints JSON.

    python benchmarks/prefix.py mnist --digits 500 --rows 14 --num-samples 8
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

import vssm
from vssm import data
from vssm.batches import as_sequences, binarise, generator
from vssm.prefix import prefix_dependence


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="mnist", help="name of a shipped model or a folder")
    parser.add_argument("--digits", type=int, default=500)
    parser.add_argument("--rows", type=int, default=14)
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        model = vssm.load(options.model)
        images = data.load_images("mnist", "test").images[: options.digits]
        grey = as_sequences(images, model.config.length, model.config.size)
    except ValueError as error:
        sys.exit(f"error: {error}")
    x = binarise(grey, generator(options.seed, "evaluation binarise")).numpy().astype(np.uint8)
    steps = options.rows * 28 // model.config.size
    started = time.perf_counter()
    share = prefix_dependence(model, x, steps, options.num_samples, options.seed)
    seconds = round(time.perf_counter() - started, 2)
    print(json.dumps({**vars(options), "nearer_to_own_percent": 100 * share, "seconds": seconds}))


if __name__ == "__main__":
    main()
