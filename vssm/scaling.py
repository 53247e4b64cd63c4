"""Location and scale of a series' channels, from its first observed steps."""

from __future__ import annotations

from torch import Tensor

FLOOR = 1e-4  # of the scale, relative to the location's size: a channel that does not move


def location_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the steps of x (..., T, channels): (..., 1, channels) each, in x's dtype."""
    wide = x.double()
    location = wide.mean(-2, keepdim=True)
    spread = (wide - location).square().mean(-2, keepdim=True).sqrt()
    scale = spread + FLOOR * (1.0 + location.abs())
    return location.to(x.dtype), scale.to(x.dtype)
