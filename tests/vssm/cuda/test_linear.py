"""Fused products: against the formulas in torch, and a row as if it were alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm.cuda.linear import Norm, Packed, Precision, gated, latent, linear, pack
from vssm.exact import exact_exp
from vssm.gates import activate_reference, squash

precisions = pytest.mark.parametrize("precision", ["float32", "bf16"])
SHAPES = [(5, 3), (40, 70), (130, 140)]  # inputs and outputs, over the edges of blocks


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def rounded(x: Tensor, precision: Precision) -> Tensor:
    return x.bfloat16().float() if precision == "bf16" else x


def expected(x: Tensor, weight: Tensor, bias: Tensor, precision: Precision) -> Tensor:
    return (rounded(x, precision).double() @ rounded(weight, precision).double().T + bias.double()).float()


def close(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found.cpu(), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@precisions
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_product_is_that_of_the_rounded_factors(
    inputs: int, outputs: int, precision: Precision, device: torch.device
) -> None:
    x, weight, bias = 3 * draw(2, 70, inputs), draw(outputs, inputs), draw(outputs)
    found = linear(pack(weight.to(device), bias.to(device), precision), x.to(device))
    assert close(found, expected(x, weight, bias, precision))


@precisions
def test_everything_at_once(precision: Precision, device: torch.device) -> None:
    x, weight, bias, d, s, r = (
        draw(2, 9, 70), draw(40, 70), draw(40), draw(40), draw(2, 9, 40), draw(2, 9, 40, seed=1)
    )  # fmt: skip
    norm = nn.LayerNorm(70)
    with torch.no_grad():
        norm.weight.copy_(draw(70)), norm.bias.copy_(draw(70, seed=1))
    values = torch.stack([norm.weight, norm.bias]).detach().to(device)
    normed = torch.empty(2, 9, 70, device=device)
    layer = pack(weight.to(device), bias.to(device), precision)
    on_device: dict[str, Any] = {"skip": (d.to(device), s.to(device)), "add": r.to(device), "normed": normed}
    found = linear(layer, x.to(device), norm=Norm(values, norm.eps), activate=True, **on_device)
    seen = norm(x).detach()
    assert torch.allclose(normed.cpu(), seen, rtol=1e-2 if precision == "bf16" else 1e-5, atol=1e-6)
    wanted = activate_reference(expected(normed.cpu(), weight, bias, precision) + d * s + r)
    assert close(found, wanted)


@precisions
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_two_products_at_once(inputs: int, outputs: int, precision: Precision, device: torch.device) -> None:
    x, weight, bias, other = draw(3, 30, inputs), draw(2 * outputs, inputs), draw(2 * outputs), draw(3, 30, outputs)
    layer = pack(weight.to(device), bias.to(device), precision, parts=2)
    u, v = expected(x, weight, bias, precision).chunk(2, -1)
    assert close(gated(layer, x.to(device), other.to(device)), other + u * squash(v))
    found = latent(layer, x.to(device), other.to(device), 8.0)
    assert close(found, u + exact_exp(v.clamp(-8.0, 8.0)) * other)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # numpy's, in the interpreter
def test_a_latent_keeps_what_is_not_a_number(device: torch.device) -> None:
    weight, bias = torch.zeros(2, 1), torch.tensor([0.0, float("nan")])
    layer = pack(weight.to(device), bias.to(device), "float32", parts=2)
    assert latent(layer, torch.ones(1, 1, device=device), torch.ones(1, 1, device=device), 8.0).isnan().all()


def run(layer: Packed, kind: str, x: Tensor, norm: Norm) -> Tensor:
    other = x[:, : layer.out_size].contiguous()
    match kind:
        case "norm":
            return linear(layer, x, norm=norm, activate=True)
        case "gated":
            return gated(layer, x, other)
        case _:
            return latent(layer, x, other, 8.0)


@precisions
@pytest.mark.parametrize(("kind", "parts"), [("norm", 1), ("gated", 2), ("latent", 2)])
def test_a_row_does_not_depend_on_its_neighbours(
    kind: str, parts: int, precision: Precision, device: torch.device
) -> None:
    x = draw(300, 50).to(device)
    layer = pack(draw(20 * parts, 50).to(device), None, precision, parts)
    norm = Norm(draw(2, 50).to(device), 1e-5)
    together = run(layer, kind, x, norm)
    assert torch.equal(together[201:202], run(layer, kind, x[201:202], norm))
    assert torch.equal(together[77:299], run(layer, kind, x[77:299], norm))


def test_references_are_not_trivial() -> None:
    x, weight, bias = draw(4, 8), draw(3, 8), draw(3)
    assert torch.allclose(expected(x, weight, bias, "float32"), F.linear(x, weight, bias), atol=1e-5)
    assert not torch.equal(expected(x, weight, bias, "bf16"), expected(x, weight, bias, "float32"))
