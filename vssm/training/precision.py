"""Mixed precision: matrix products on tensor cores, everything else as it is.

Weights, states, residuals, sums of losses and the optimiser stay float32. `bfloat16` rounds what goes into a product,
and what comes out of it; autocast would hand bfloat16 on to recurrences and densities, which need more. With `tf32`
the products themselves round their factors to 10 bits of mantissa, so nothing is written in between: in models as
narrow as these, where memory is what takes time, it is the faster one. Only attention stays bfloat16 with it. On a CPU
its products are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class BFloat16Products(TorchFunctionMode):
    """Within, attention and (unless told otherwise) linear layers of float32 multiply in bfloat16, return float32."""

    def __init__(self, linear: bool = True) -> None:
        super().__init__()
        self._rounded = (F.scaled_dot_product_attention, *((F.linear,) if linear else ()))

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        if function not in self._rounded:
            return function(*arguments, **(keywords or {}))
        result: Tensor = function(*map(_rounded, arguments), **{k: _rounded(v) for k, v in (keywords or {}).items()})
        return result.float()


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


@contextmanager
def _tensor_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with BFloat16Products(linear=False):
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def products(precision: str) -> AbstractContextManager[Any]:
    """The context in which a training with that `precision` computes its loss and its gradient."""
    match precision:
        case "bfloat16":
            return BFloat16Products()
        case "tf32":
            return _tensor_float32()
        case _:
            return nullcontext()
