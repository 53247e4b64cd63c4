"""Decoders that read earlier values in Triton kernels, and as graphs: the modules' values, the same bits in any cut."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.vssm.models import build
from tests.vssm.test_generation import same
from vssm import VSSM, Window
from vssm.cuda.bits import Bits, pack_bits
from vssm.cuda.networks import TritonNetworks
from vssm.networks import ReferenceNetworks
from vssm.passes import Pass

WIDER = {"near": 27, "far": [28, 29], "layers": 1}
DECODER = {"width": 24, "state": 4}
MODELS = {"exact": build("exact"), "near 27": build("exact", past=WIDER, decoder=DECODER)}


def problem(model: VSSM, rows: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """b, e and noise of a sweep; the first row is at the beginning of its sequence, the second just behind it."""
    assert model.past is not None
    random, near = torch.Generator().manual_seed(steps), model.past.config.near
    b = torch.randn(rows, steps, model.config.decoder.width, generator=random)
    e = torch.cat([torch.randint(0, 2, (rows, near, 1), generator=random) * 2.0 - 1.0, torch.zeros(rows, steps, 1)], 1)
    e[0, :near], e[1:2, : near - 1] = 0.0, 0.0
    return b, e, torch.randn(rows, steps, 1, generator=random)


def head(model: VSSM) -> Bits:
    """The head of a model of single bits."""
    packed = pack_bits(model.past, model.observation)
    assert packed is not None
    return packed


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_sweep_of_bits_is_that_of_the_modules(name: str, device: torch.device) -> None:
    model = MODELS[name].to(device)
    b, e, noise = (x.to(device) for x in problem(model, 3, 21))
    expected_e = e.clone()
    values, params = head(model).sweep(b, e, noise)
    expected, theirs = ReferenceNetworks(model).sweep(b, expected_e, noise)
    assert values.dtype == expected.dtype
    assert torch.equal(values, expected)
    assert 0 < values.float().mean() < 1
    assert torch.allclose(params, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(e, expected_e)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_cut_sweep_has_the_same_bits(name: str, device: torch.device) -> None:
    model = MODELS[name].to(device)
    packed = head(model)
    near = packed.steps
    b, e, noise = (x.to(device) for x in problem(model, 2, 19))
    begun = e.clone()
    _, whole = packed.sweep(b, e, noise)
    for begin, stop in ((0, 5), (5, 6), (6, 19)):
        part = begun[1:, begin : near + stop].clone()
        _, params = packed.sweep(b[1:, begin:stop], part, noise[1:, begin:stop])
        begun[1:, begin : near + stop] = part
        assert torch.equal(params, whole[1:, begin:stop])


def test_other_heads_go_step_by_step() -> None:
    for kind in ("exact classes", "hybrid", "rows"):
        model = build(kind)
        assert pack_bits(model.past, model.observation) is None
    assert TritonNetworks(MODELS["exact"])._bits is not None


@pytest.mark.parametrize("name", ["exact", "exact classes"])
@torch.no_grad()
def test_graphs_of_whole_windows_show_no_padding(name: str, device: torch.device) -> None:
    """Windows of other lengths and rows beside it, replayed from one graph: the bits of a window alone."""
    model = build(name).to(device)
    networks = TritonNetworks(model, "float32")
    (whole,) = Pass(model, networks, [Window(model.start(2, 3), 11)]).run()
    assert whole.passes is not None
    assert whole.passes.tolist() == [4, 4]
    state, made = model.start(2, 3), []
    for length in (2, 5, 4):
        stranger = Window(model.start(3, 9), 8)
        part, _ = Pass(model, networks, [Window(state, length), stranger]).run()
        made.append(part.values)
        state = part.state
    assert np.array_equal(np.concatenate(made, axis=1), whole.values)
    assert same(state, whole.state)
    assert len(networks._graphs) > 0


@torch.no_grad()
def test_a_prefix_and_a_budget_too(device: torch.device) -> None:
    model = build("exact").to(device)
    networks = TritonNetworks(model, "float32")
    (made,) = Pass(model, networks, [Window(model.start(1, 3), 9)]).run()
    (seen,) = Pass(model, networks, [Window(model.start(1, 3), 9, observed=made.values[0])]).run()
    assert same(seen.state, made.state)
    budget = model.budget(2, 20)
    assert budget is not None
    (rough,) = Pass(model, networks, [Window(model.start(2, 3), 20, budget=budget)]).run()
    assert rough.passes is not None
    assert rough.passes.max() == 2
