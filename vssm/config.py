"""`ModelConfig`: everything that decides a model's networks, as it stands in a checkpoint's config.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

Width = Annotated[int, Field(ge=1, le=16384)]
Layers = Annotated[int, Field(ge=0, le=256)]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bernoulli(Config):
    """Each value 0 or 1."""

    kind: Literal["bernoulli"] = "bernoulli"


class Categorical(Config):
    """Each value one of `classes` integers."""

    kind: Literal["categorical"] = "categorical"
    classes: int = Field(ge=2, le=65536)


class Gaussian(Config):
    """Each value a real number; its scale is learned per channel."""

    kind: Literal["gaussian"] = "gaussian"


class GaussianLevel(Config):
    """`size` normal latents a step; the prior is N(0, I), or depends on the level below."""

    kind: Literal["gaussian"] = "gaussian"
    size: Width
    layers: Layers = 2


class CategoricalLevel(Config):
    """`groups` one-hot latents of `classes` a step, uniform prior, straight-through Gumbel-softmax (the paper's)."""

    kind: Literal["categorical"] = "categorical"
    groups: Width
    classes: int = Field(ge=2, le=4096)
    layers: Layers = 2
    relaxation: float = Field(default=1.0, gt=0.0, description="temperature of the Gumbel-softmax in training")


class Encoder(Config):
    """q(z | x). Causal: q(z_t | x_{1..t}), with state; bidirectional: q(z_t | x_{1..T}), without.

    `sees_noise` makes the causal posterior autoregressive, q(z_t | x_{1..t}, z_{<t}): the encoder also reads the
    noise that made the earlier Gaussian latents, which is known beforehand, so training stays one parallel pass.
    `prefixes` says that a bidirectional encoder was trained on sequences that end anywhere (`cut_prefixes` in a
    recipe), so q(z_{1..c} | x_{1..c}) means something for every c and generation takes a prefix.
    """

    kind: Literal["causal", "bidirectional"] = "causal"
    width: Width
    state: Width
    layers: Layers
    sees_noise: bool = False
    prefixes: bool = False

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Encoder:
        if self.sees_noise and self.kind != "causal":
            raise ValueError("sees_noise needs kind = 'causal'")
        if self.prefixes and self.kind != "bidirectional":
            raise ValueError("prefixes needs kind = 'bidirectional'; a causal encoder takes prefixes anyway")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_new(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`prefixes` only where it is true: other models keep the fingerprint that they had before there was one."""
        fields: dict[str, Any] = serialise(self)
        return {name: value for name, value in fields.items() if name != "prefixes" or value}


class Decoder(Config):
    """p(x | z): width and state size of the stacks of all levels; `linear` leaves only linear maps."""

    width: Width
    state: Width
    linear: bool = False


class Image(Config):
    """How a whole sequence reads as a picture, row by row."""

    height: Width
    width: Width
    channels: Literal[1, 3] = 1


Level = Annotated[GaussianLevel | CategoricalLevel, Field(discriminator="kind")]
Observation = Annotated[Bernoulli | Categorical | Gaussian, Field(discriminator="kind")]


class SequenceConfig(Config):
    """What every model says of its sequences: `length` steps of `size` values, and what they are."""

    description: str = ""
    modality: Literal["image", "text", "series"] = "series"
    length: int = Field(ge=1, le=2**31, description="the model's own length in steps, the default of generation")
    size: Width
    image: Image | None = None
    observation: Observation

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        image = self.image
        if image and image.height * image.width * image.channels != self.length * self.size:
            raise ValueError("image height x width x channels must equal length x size")
        if (self.modality == "image") != (image is not None):
            raise ValueError("image is given exactly when modality is 'image'")
        if self.modality == "text" and (self.size != 1 or self.observation.kind != "categorical"):
            raise ValueError("modality 'text' needs size 1 and a categorical observation")
        return self


class ModelConfig(SequenceConfig):
    """A VSSM: latent levels from coarse to fine, an encoder and a decoder."""

    family: Literal["vssm"] = Field(default="vssm", exclude=True)  # not written: folders without one are VSSMs
    levels: tuple[Level, ...] = Field(min_length=1, max_length=16)
    encoder: Encoder
    decoder: Decoder
