"""Models that only benchmarks use, with random weights."""

from __future__ import annotations

from typing import Any

PIXELS_1M: dict[str, Any] = {
    "description": "A 28 x 28 image pixel by pixel, about 1 M parameters",
    "modality": "image",
    "length": 784,
    "size": 1,
    "image": {"height": 28, "width": 28},
    "observation": {"kind": "bernoulli"},
    "levels": [{"kind": "gaussian", "size": 16, "layers": 6}],
    "encoder": {"kind": "causal", "width": 160, "state": 80, "layers": 3},
    "decoder": {"width": 160, "state": 80},
}
