"""Row-wise operations: a row's bits do not depend on its neighbours, its place, or the number of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vssm import rows
from vssm.gates import activate, activate_reference, glu, glu_reference


@given(
    count=st.integers(1, 700),
    place=st.integers(0, 699),
    shape=st.sampled_from([(28, 128), (128, 256), (160, 160), (7, 33), (256, 28), (1, 64), (64, 1)]),
    bias=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_a_row_of_a_product_is_computed_as_if_alone(
    count: int, place: int, shape: tuple[int, int], bias: bool, threads: int
) -> None:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, shape[0], generator=generator)
    weight = torch.randn(shape[1], shape[0], generator=generator)
    offset = torch.randn(shape[1], generator=generator) if bias else None
    place %= count
    with torch.no_grad():
        torch.set_num_threads(threads)
        together = rows.linear(x, weight, offset)
        torch.set_num_threads(1)
        alone = rows.linear(x[place : place + 1], weight, offset)
    assert torch.equal(together[place : place + 1], alone)
    assert torch.allclose(together, F.linear(x, weight, offset), atol=1e-4)


def test_larger_tiles_are_used_only_when_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    product = rows._product

    def sloppy(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, out: torch.Tensor) -> None:
        product(x, w, b, out)
        if x.shape[0] > rows.TILE:
            out.mul_(1.0 + 1e-6)

    monkeypatch.setattr(rows, "_product", sloppy)
    assert rows.tile_sizes.__wrapped__(16, 24, False, "cpu", 1) == (rows.TILE,)


def test_a_machine_whose_products_depend_on_the_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def uneven(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, out: torch.Tensor) -> None:
        torch.mm(x, w.t(), out=out)
        out[-1] += 1e-3

    monkeypatch.setattr(rows, "_product", uneven)
    with pytest.raises(RuntimeError, match="depends on a row's place"):
        rows.tile_sizes.__wrapped__(16, 24, False, "cpu", 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_exp_is_accurate_and_differentiable(dtype: torch.dtype) -> None:
    x = torch.linspace(-30, 30, 10_001, dtype=dtype, requires_grad=True)
    y = rows.exact_exp(x)
    assert (y / x.detach().double().exp() - 1).abs().max() < (1e-7 if dtype == torch.float32 else 1e-14)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


@given(size=st.integers(1, 200), start=st.integers(0, 40), threads=st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_elementwise_bits_do_not_depend_on_length_or_alignment(size: int, start: int, threads: int) -> None:
    x = 4 * torch.randn(1024, generator=torch.Generator().manual_seed(size))
    torch.set_num_threads(threads)
    part = slice(start, start + size)
    for f in (activate, rows.exact_exp):
        assert torch.equal(f(x)[part], f(x[part].clone()))
    torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("fast", "reference"), [(activate, activate_reference), (glu, glu_reference)])
def test_kernels_equal_their_formulas(fast: object, reference: object, dtype: torch.dtype) -> None:
    assert callable(fast)
    assert callable(reference)
    u = 3 * torch.randn(5, 7, 34, dtype=dtype)
    u.requires_grad_()
    y, expected = fast(u), reference(u)
    weight = torch.randn_like(y)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert torch.allclose(y, expected, rtol=tolerance, atol=tolerance)
    found, wanted = (torch.autograd.grad((v * weight).sum(), u)[0] for v in (y, expected))
    assert torch.allclose(found, wanted, rtol=10 * tolerance, atol=10 * tolerance)


@given(size=st.integers(1, 70), out=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_products_of_any_size_are_invariant(size: int, out: int) -> None:
    x, weight = torch.randn(50, size), torch.randn(out, size)
    with torch.no_grad():
        together = rows.linear(x, weight, None)
        assert all(torch.equal(together[r : r + 1], rows.linear(x[r : r + 1], weight, None)) for r in (0, 17, 49))
