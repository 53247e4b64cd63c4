"""Counted operations equal those that torch counts in the reference modules."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.models import PIXELS_1M
from benchmarks.speed.contenders import RivalContender, contender
from benchmarks.speed.counts import cost
from vssm import VSSM, ModelConfig

SAMPLES, STEPS = 3, 5
CAUSAL = {"kind": "causal", "width": 16, "state": 6, "layers": 2}
GAUSSIAN, CATEGORICAL = {"kind": "gaussian", "size": 5, "layers": 2}, {"kind": "categorical", "groups": 2, "classes": 4}
SMALL = {"length": 12, "size": 2, "encoder": CAUSAL, "decoder": {"width": 16, "state": 6}}
CONFIGS: dict[str, dict[str, Any]] = {
    "benchmark": PIXELS_1M,
    "levels": {**SMALL, "observation": {"kind": "gaussian"}, "levels": [GAUSSIAN, GAUSSIAN]},
    "categories": {**SMALL, "observation": {"kind": "categorical", "classes": 7}, "levels": [CATEGORICAL, GAUSSIAN]},
    "linear": {
        **SMALL,
        "observation": {"kind": "bernoulli"},
        "levels": [GAUSSIAN],
        "decoder": {"width": 16, "state": 6, "linear": True},
    },
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_vssm(kind: str) -> None:
    model = VSSM(ModelConfig.model_validate(CONFIGS[kind])).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        d = None
        for level in model.levels:
            z = level.latent.prior(d, torch.zeros(SAMPLES, STEPS, level.latent.size))
            d, _ = level.decode(z, d, level.stack.start(SAMPLES, z))
        assert d is not None
        model.observation.params(d)
    assert cost(model.config, SAMPLES, STEPS).flops == counter.get_total_flops()


@pytest.mark.parametrize("name", ["transformer", "mamba"])
def test_rivals(name: str) -> None:
    """Their step, one after another; torch does not count the Transformer's attention, which is written out."""
    rival = contender(name, PIXELS_1M, torch.device("cpu"))
    assert isinstance(rival, RivalContender)
    model, first = rival.model, 4
    cached, prepared = model.empty(SAMPLES, 16), model.prepare()
    with FlopCounterMode(display=False) as counter:
        for position in range(first, first + STEPS):
            seen = torch.arange(position + 1)
            pending = model.embedded(torch.zeros(SAMPLES, 1, 1, dtype=torch.uint8))[:, 0]
            features = model.step(pending, torch.tensor([position]), seen, cached, prepared)
            model.params(features[:, None])
    seen_by_all = sum(range(first + 1, first + STEPS + 1))
    attention = 4 * SAMPLES * seen_by_all * model.config.width * model.config.layers if name == "transformer" else 0
    assert cost(model.config, SAMPLES, STEPS, first).flops == counter.get_total_flops() + attention


@pytest.mark.parametrize("name", ["vssm", "transformer", "mamba"])
def test_a_cost_is_the_sum_of_its_parts(name: str) -> None:
    model = contender(name, PIXELS_1M, torch.device("cpu"))
    whole, start, rest = model.cost(2, 10), model.cost(2, 4), model.cost(2, 6, first=4)
    assert whole.flops == start.flops + rest.flops
    assert whole.bytes <= start.bytes + rest.bytes
