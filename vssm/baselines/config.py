"""`TransformerConfig`, `MambaConfig`: what decides a rival's networks, and which config is of which family."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from vssm.config import ModelConfig, SequenceConfig, Width

Layers = Annotated[int, Field(ge=1, le=256)]


class TransformerConfig(SequenceConfig):
    """A decoder-only Transformer: pre-norm, rotary positions, SwiGLU."""

    family: Literal["transformer"] = "transformer"
    width: Width
    layers: Layers
    heads: Width
    hidden: Annotated[Width, Field(description="channels of the gated MLP between its two products")]

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 x heads, for rotary positions; {self.width} is not")
        return self


class MambaConfig(SequenceConfig):
    """A Mamba (S6): `expand` x width inner channels of `state` real states each, a short convolution before them."""

    family: Literal["mamba"] = "mamba"
    width: Width
    layers: Layers
    state: Width = 16
    expand: Annotated[int, Field(ge=1, le=16)] = 2
    conv: Annotated[int, Field(ge=2, le=64)] = 4

    @property
    def inner(self) -> int:
        """Channels of the scan."""
        return self.expand * self.width

    @property
    def rank(self) -> int:
        """Channels that the step sizes are projected from: width / 16, rounded up."""
        return -(-self.width // 16)


RivalConfig = TransformerConfig | MambaConfig


def _family(model: Any) -> Any:
    return model.get("family", "vssm") if isinstance(model, dict) else getattr(model, "family", None)


FAMILIES = ("vssm", "transformer", "mamba")

AnyConfig = Annotated[
    Annotated[ModelConfig, Tag("vssm")]
    | Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[MambaConfig, Tag("mamba")],
    Discriminator(
        _family, custom_error_type="family", custom_error_message=f"family must be one of {', '.join(FAMILIES)}"
    ),
]
