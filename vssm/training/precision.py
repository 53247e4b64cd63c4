"""Mixed precision: matrix products in bfloat16, everything else as it is.

Weights, states, residuals, sums of losses and the optimiser stay float32: only what goes into a product, and what comes
out of it, is rounded to bfloat16. Autocast would hand bfloat16 on to recurrences and densities, which need more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_PRODUCTS = (F.linear, F.scaled_dot_product_attention)


class BFloat16Products(TorchFunctionMode):
    """Within, linear layers and attention of float32 tensors multiply in bfloat16 and return float32."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        if function not in _PRODUCTS:
            return function(*arguments, **(keywords or {}))
        result: Tensor = function(*map(_rounded, arguments), **{k: _rounded(v) for k, v in (keywords or {}).items()})
        return result.float()


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def products(precision: str) -> AbstractContextManager[Any]:
    """The context in which a training with that `precision` computes its loss."""
    return BFloat16Products() if precision == "bfloat16" else nullcontext()
