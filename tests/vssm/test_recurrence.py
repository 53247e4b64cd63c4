"""The recurrence: against its formula, its gradient against torch's, and the same bits at any cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vssm import linear_recurrence, linear_recurrence_reference

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def problem(dtype: torch.dtype, gated: bool, batch: int, steps: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * 1000 + steps * 10 + channels)
    size = (batch, steps, channels)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    a = draw(*size) if gated else draw(channels)
    return a / (1.0 + a.abs()), draw(*size), draw(batch, channels)


shapes = given(
    dtype=st.sampled_from(DTYPES),
    gated=st.booleans(),
    batch=st.integers(1, 5),
    steps=st.integers(1, 60),
    channels=st.integers(1, 20),
)


@shapes
@settings(max_examples=60, deadline=None)
def test_compiled_equals_the_formula(dtype: torch.dtype, gated: bool, batch: int, steps: int, channels: int) -> None:
    a, b, h0 = problem(dtype, gated, batch, steps, channels)
    h, last = linear_recurrence(a, b, h0)
    expected, expected_last = linear_recurrence_reference(a, b, h0)
    tolerance = 1e-10 if dtype in (torch.float64, torch.complex128) else 1e-5
    scale = expected.abs().max()
    assert (h - expected).abs().max() <= tolerance * scale
    assert (last - expected_last).abs().max() <= tolerance * scale


@pytest.mark.parametrize("steps", [1, 784, 16384])
def test_float32_stays_within_1e_5_of_float64_at_any_length(steps: int) -> None:
    a, b, h0 = problem(torch.complex128, False, 2, steps, 8)
    a = a / a.abs() * torch.linspace(0.5, 0.9999, 8)
    inputs = [t.to(torch.complex64) for t in (a, b, h0)]  # what is measured is the recurrence, not rounding its inputs
    single, _ = linear_recurrence(*inputs)
    exact, _ = linear_recurrence(*(t.to(torch.complex128) for t in inputs))
    assert (single - exact).abs().max() / exact.abs().max() < 1e-5


@shapes
@settings(max_examples=30, deadline=None)
def test_gradients_equal_those_of_the_formula(
    dtype: torch.dtype, gated: bool, batch: int, steps: int, channels: int
) -> None:
    wide = torch.complex128 if dtype.is_complex else torch.float64
    inputs = [t.requires_grad_() for t in problem(wide, gated, batch, steps, channels)]
    weight = problem(wide, True, batch, steps, channels)[1]
    gradients = []
    for recurrence in (linear_recurrence, linear_recurrence_reference):
        h, last = recurrence(*inputs)
        loss = (h * weight).sum().abs() + last.abs().square().sum()
        gradients.append(torch.autograd.grad(loss, inputs))
    for found, expected in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(data=st.data(), gated=st.booleans(), dtype=st.sampled_from(DTYPES), steps=st.integers(2, 300))
@settings(max_examples=40, deadline=None)
def test_any_cuts_give_the_same_bits(data: st.DataObject, gated: bool, dtype: torch.dtype, steps: int) -> None:
    a, b, h0 = problem(dtype, gated, 3, steps, 11)
    cuts = sorted(data.draw(st.sets(st.integers(1, steps - 1), max_size=6)))
    parts, state = [], h0
    for start, stop in zip([0, *cuts], [*cuts, steps], strict=True):
        h, state = linear_recurrence(a[:, start:stop] if gated else a, b[:, start:stop], state)
        parts.append(h)
    whole, last = linear_recurrence(a, b, h0)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(state, last)


def test_threads_do_not_change_the_bits() -> None:
    a, b, h0 = problem(torch.complex64, False, 7, 2000, 40)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(linear_recurrence(a, b, h0)[0])
    torch.set_num_threads(before)
    assert all(torch.equal(r, results[0]) for r in results)


def test_no_steps_return_the_state() -> None:
    a, _, h0 = problem(torch.float32, False, 2, 1, 3)
    h, last = linear_recurrence(a, torch.zeros(2, 0, 3), h0)
    assert h.shape == (2, 0, 3)
    assert torch.equal(last, h0)


@pytest.mark.parametrize(
    ("a", "b", "h0", "message"),
    [
        (np.zeros(3), np.zeros((2, 3)), None, "b must be"),
        (np.zeros(4), np.zeros((2, 5, 3)), None, "a must be"),
        (np.zeros(3), np.zeros((2, 5, 3)), np.zeros((1, 3)), "h0 must be"),
        (np.zeros(3, np.float32), np.zeros((2, 5, 3)), None, "one dtype"),
    ],
)
def test_wrong_shapes_are_refused(a: object, b: object, h0: object, message: str) -> None:
    tensors = [None if v is None else torch.as_tensor(v) for v in (a, b, h0)]
    with pytest.raises(ValueError, match=message):
        linear_recurrence(*tensors)  # type: ignore[arg-type]
