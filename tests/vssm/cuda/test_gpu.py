"""What only a GPU can show: bits at full size, over a million steps, through graphs, and that nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.vssm.models import build
from vssm import VSSM, Window, linear_recurrence
from vssm.blocks import compute
from vssm.cuda.linear import Norm, Precision, gated, latent, linear, pack
from vssm.cuda.networks import TritonNetworks
from vssm.cuda.recurrence import recurrence
from vssm.data import Images
from vssm.examples import examples
from vssm.noise import Counters, Kind
from vssm.passes import Advance, Pass
from vssm.recipe import Recipe
from vssm.training.trainer import Trainer

pytestmark = pytest.mark.gpu
STEPS = 1_000_000
WIDE: dict[str, Any] = {
    "encoder": {"kind": "causal", "width": 128, "state": 64, "layers": 2, "sees_noise": True},
    "decoder": {"width": 160, "state": 80},
}
CUDA = "cuda"


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@torch.no_grad()
def advance(model: VSSM, networks: TritonNetworks, *windows: Window) -> list[Advance]:
    return Pass(model, networks, windows).run()


@pytest.mark.parametrize("precision", ["bf16", "float32"])
@pytest.mark.parametrize("kind", ["pixels", "rows", "levels"])
def test_a_million_steps_whole_cut_resumed_and_shared(
    kind: str, precision: Precision, record_property: Any, capsys: Any
) -> None:
    """Windows of 1 to 100,000 steps, some with strangers beside them, some replayed from graphs, some not."""
    model = build(kind, **WIDE).to(CUDA)
    networks = TritonNetworks(model, precision)
    (whole,) = advance(model, networks, Window(model.start(1, 7), STEPS, encode=False))
    random, state, parts = np.random.default_rng(0), model.start(1, 7), []
    while state.position < STEPS:
        length = min(STEPS - state.position, int(10 ** random.uniform(0, 5)))
        others = model.start(int(random.integers(1, 40)), 1)
        strangers = [Window(others, 20, encode=False)] if random.random() < 0.5 else []
        made, *_ = advance(model, networks, Window(state, length, encode=False), *strangers)
        parts.append(made.values)
        state = made.state
    values = int((np.concatenate(parts, axis=1) != whole.values).sum())
    states = sum(int((state.tensors[k] != v).sum()) for k, v in whole.state.tensors.items())
    record_property("differences", values + states)
    with capsys.disabled():
        print(
            f"\n{kind}, {precision}: {len(parts)} windows, {whole.values.size:,} values, {values + states} differences"
        )
    assert values + states == 0


def test_nothing_waits_for_the_device() -> None:
    """Both functions that become graphs, where anything that waits raises."""
    for kind in ("rows", "levels", "series", "exact", "exact classes", "hybrid"):
        model = build(kind).to(CUDA)
        networks = TritonNetworks(model)
        observed = np.zeros((5, model.config.size))
        for window in (Window(model.start(2, 0), 5, output="mean"), Window(model.start(2, 0), 5, observed)):
            task = Pass(model, networks, [window])
            x = {"x": task._observed(task.parts, 2, 0, 5)} if task.kind.observing else {}
            inputs = {
                "seed": task.counters.seed, "sample": task.counters.sample, "position": task.counters.position,
                "temperature": task.temperature, "last": task.length - 1,
            } | {f"state {name}": tensor for name, tensor in task.state.items()} | x  # fmt: skip
            with torch.no_grad():
                compute(model, networks, task.kind, True, inputs, 5)
                torch.cuda.set_sync_debug_mode("error")
                try:
                    compute(model, networks, task.kind, True, inputs, 5)
                finally:
                    torch.cuda.set_sync_debug_mode("default")


def test_training_steps_from_a_graph_are_those_without(make_recipe: Callable[..., Recipe], images: Images) -> None:
    """The first steps are plain, then a graph is replayed: weights, averages, moments and sums of what is recorded."""
    trainers = []
    for graphs in ("true", "false"):
        recipe = make_recipe("training.steps=8", "training.kl_warmup_steps=6", f"training.graphs={graphs}")
        trainers.append(Trainer(recipe, examples(recipe, images, None).training, CUDA))
        for _ in range(8):
            trainers[-1].advance()
    found, expected = (trainer.tensors() for trainer in trainers)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("kind", ["word", "normal", "logistic", "gumbel"])
def test_noise_has_the_bits_of_the_cpu(kind: Kind) -> None:
    counters = Counters(torch.arange(1000) * 2**40, torch.arange(1000), torch.arange(1000) * 2**33)
    moved = Counters(*(t.to(CUDA) for t in (counters.seed, counters.sample, counters.position)))
    assert torch.equal(moved.draw(kind, 3, 500, 21).cpu(), counters.draw(kind, 3, 500, 21))


@pytest.mark.parametrize(("dtype", "gated_"), [(torch.complex64, False), (torch.float32, True)])
def test_the_recurrence_has_the_bits_of_the_cpu(dtype: torch.dtype, gated_: bool) -> None:
    a = draw(*((64, 784, 80) if gated_ else (80,)), dtype=dtype)
    a, b, h0 = a / (1.0 + a.abs()), draw(64, 784, 80, seed=1, dtype=dtype), draw(64, 80, seed=2, dtype=dtype)
    assert torch.equal(recurrence(a.to(CUDA), b.to(CUDA), h0.to(CUDA)).cpu(), linear_recurrence(a, b, h0)[0])


@pytest.mark.parametrize("precision", ["bf16", "float32"])
@pytest.mark.parametrize(("inputs", "outputs"), [(28, 128), (76, 160), (160, 160), (256, 512), (320, 28)])
def test_a_row_of_many_is_computed_as_if_alone(inputs: int, outputs: int, precision: Precision) -> None:
    x, other = draw(100_000, inputs).to(CUDA), draw(100_000, outputs, seed=1).to(CUDA)
    norm = Norm(draw(2, inputs, seed=2).to(CUDA), 1e-5)
    one = pack(draw(outputs, inputs, seed=3).to(CUDA), draw(outputs, seed=4).to(CUDA), precision)
    two = pack(draw(2 * outputs, inputs, seed=5).to(CUDA), draw(2 * outputs, seed=6).to(CUDA), precision, 2)

    def everything(rows: slice) -> list[Tensor]:
        return [
            linear(one, x[rows], norm=norm, activate=True),
            linear(one, x[rows], add=other[rows]),
            gated(two, x[rows], other[rows]),
            latent(two, x[rows], other[rows], 8.0),
        ]

    whole = everything(slice(None))
    for rows in (slice(0, 1), slice(77, 78), slice(99_937, 99_999), slice(1234, 80_001)):
        for found, expected in zip(everything(rows), whole, strict=True):
            assert torch.equal(found, expected[rows])
