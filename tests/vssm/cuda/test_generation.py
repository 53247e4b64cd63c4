"""Generation through Triton kernels and graphs: near the modules, and the same bits whole, cut and shared."""

import numpy as np
import pytest
import torch

from tests.vssm.models import build
from vssm import VSSM, State, Window
from vssm.cuda.linear import Precision
from vssm.cuda.networks import TritonNetworks
from vssm.networks import Networks, ReferenceNetworks
from vssm.passes import Advance, Pass


@torch.no_grad()
def advance(model: VSSM, networks: Networks, *windows: Window) -> list[Advance]:
    return Pass(model, networks, windows).run()


def with_prefix(model: VSSM, networks: Networks, samples: int, seed: int) -> State:
    """The state after three observed steps."""
    size, high = model.config.size, model.observation.describe()["high"] or 1.0
    observed = np.linspace(0.0, high, 3 * size, dtype=np.float32).astype(np.uint8 if high > 1 else np.float32)
    observed = observed.reshape(3, size)
    return advance(model, networks, Window(model.scaled(model.start(samples, seed), observed), 3, observed))[0].state


@pytest.mark.parametrize("kind", ["series", "scaled"])
def test_values_are_near_those_of_the_modules(kind: str, device: torch.device) -> None:
    model = build(kind).to(device)
    results = []
    for networks in (TritonNetworks(model, "float32"), ReferenceNetworks(model)):
        (made,) = advance(model, networks, Window(with_prefix(model, networks, 2, 5), 9, output="mean"))
        assert made.finite
        results.append(made)
    assert np.allclose(results[0].values, results[1].values, atol=1e-4)
    for name, tensor in results[1].state.tensors.items():
        assert torch.allclose(results[0].state.tensors[name], tensor, atol=1e-4), name


@pytest.mark.parametrize("kind", ["series", "scaled", "rgb", "tails", "exact classes", "hybrid"])
@pytest.mark.parametrize("precision", ["bf16"])
def test_cuts_and_company_change_nothing(precision: Precision, kind: str, device: torch.device) -> None:
    model = build(kind).to(device)
    networks = TritonNetworks(model, precision)
    (whole,) = advance(model, networks, Window(with_prefix(model, networks, 2, 5), 9))
    first, other = advance(
        model, networks, Window(with_prefix(model, networks, 2, 5), 4), Window(model.start(1, 8), 6)
    )  # fmt: skip
    (second,) = advance(model, networks, Window(first.state, 5))
    assert np.array_equal(np.concatenate([first.values, second.values], axis=1), whole.values)
    assert second.state.to_bytes() == whole.state.to_bytes()
    assert np.array_equal(advance(model, networks, Window(model.start(1, 8), 6))[0].values, other.values)


def test_what_is_not_finite_is_seen(device: torch.device) -> None:
    model = build("series").to(device)
    state = model.start(2, 0)
    state.tensors["level0"][1] = float("nan")
    bad, good = advance(
        model, TritonNetworks(model, "float32"), Window(state, 2), Window(model.start(1, 1), 2)
    )  # fmt: skip
    assert (bad.finite, good.finite) == (False, True)
