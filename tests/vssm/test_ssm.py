"""SSM layers: one step equals one position of the full pass, the layer equals its matrices, causality."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vssm.ssm import SSM, Bidirectional, Stack


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@given(batch=st.integers(1, 4), steps=st.integers(1, 30), width=st.integers(1, 9), state=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_layer_equals_its_matrices(batch: int, steps: int, width: int, state: int) -> None:
    """h_t = a h_{t-1} + sqrt(1 - |a|^2) B x_t, y_t = Re(C h_t) + d x_t, written with dense complex matrices."""
    layer = SSM(width, state).double()
    a, scale = layer.gates()
    pairs = layer.input.weight * scale[:, None]
    b_matrix = torch.complex(pairs[0::2], pairs[1::2])  # (N, D)
    c_matrix = torch.complex(layer.output.weight[:, 0::2], -layer.output.weight[:, 1::2])  # Re(C h)
    x, start = randn(batch, steps, width), randn(batch, 2 * state)
    h = torch.complex(start[:, 0::2], start[:, 1::2])
    expected = []
    for t in range(steps):
        h = torch.diag(a) @ h[..., None] + (b_matrix @ x[:, t, :, None].to(torch.complex128))
        h = h[..., 0]
        expected.append((c_matrix @ h[..., None])[..., 0].real + layer.output.bias + layer.skip * x[:, t])
    y, last = layer(x, start)
    assert torch.allclose(y, torch.stack(expected, 1), atol=1e-10)
    assert torch.allclose(torch.view_as_complex(last.reshape(batch, state, 2)), h, atol=1e-10)


@pytest.mark.parametrize("linear", [True, False])
def test_one_step_equals_one_position_of_the_pass(linear: bool) -> None:
    stack = Stack(8, 5, 3, linear).double()
    x = randn(2, 20, 8)
    whole, last = stack(x, stack.start(2, x))
    state, steps = stack.start(2, x), []
    for t in range(20):
        y, state = stack(x[:, t : t + 1], state)
        steps.append(y)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-12)
    assert torch.allclose(state, last, atol=1e-12)


def test_the_state_after_an_earlier_step_can_be_asked_for() -> None:
    stack = Stack(8, 5, 2).double()
    x = randn(3, 9, 8)
    _, state = stack(x, stack.start(3, x), torch.tensor([8, 0, 4]))
    for row, last in enumerate([8, 0, 4]):
        _, alone = stack(x[row : row + 1, : last + 1], stack.start(1, x))
        assert torch.allclose(state[row], alone[0])


def test_a_stack_is_causal_and_a_bidirectional_one_is_not() -> None:
    x = randn(1, 10, 8)
    changed = x.clone()
    changed[:, 6, 0] += 1.0  # one channel: the norm takes out what all share
    stack, both = Stack(8, 5, 2).double(), Bidirectional(8, 5, 2).double()
    before, after = (stack(v, stack.start(1, v))[0] for v in (x, changed))
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])
    assert not torch.allclose(both(x)[:, :6], both(changed)[:, :6])


def test_the_recurrence_is_stable_whatever_the_parameters() -> None:
    layer = SSM(4, 50)
    with torch.no_grad():
        layer.log_decay.uniform_(-20, 5)
    a, scale = layer.gates()
    assert (a.abs() <= 1).all()
    assert torch.isfinite(scale).all()
