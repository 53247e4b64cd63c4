"""Elementwise functions whose bits depend on nothing but their argument."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vssm.exact import exact_exp
from vssm.gates import activate, activate_reference, glu, glu_reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_exp_is_accurate_and_differentiable(dtype: torch.dtype) -> None:
    x = torch.linspace(-30, 30, 10_001, dtype=dtype, requires_grad=True)
    y = exact_exp(x)
    assert (y / x.detach().double().exp() - 1).abs().max() < (1e-7 if dtype == torch.float32 else 1e-14)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


@given(size=st.integers(1, 200), start=st.integers(0, 40), threads=st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_elementwise_bits_do_not_depend_on_length_or_alignment(size: int, start: int, threads: int) -> None:
    x = 4 * torch.randn(1024, generator=torch.Generator().manual_seed(size))
    torch.set_num_threads(threads)
    part = slice(start, start + size)
    for f in (activate, exact_exp):
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
