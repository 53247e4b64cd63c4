"""`ModelConfig`: everything that decides a model's networks, as it stands in a checkpoint's config.json."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Width = Annotated[int, Field(ge=1, le=16384)]
MAX_LAYERS = 128  # of a model: building the networks of more takes seconds, before any weights are looked at
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


class LogisticMixture(Config):
    """Pixels of 1 or 3 channels, each value a level 0..levels-1: a discretised mixture of logistic distributions.

    A step holds whole pixels: red, green and blue of the first, then of the second. Green depends linearly on red, blue
    on both; with `context` every pixel also depends linearly on the one before it in the step.
    """

    kind: Literal["logistic_mixture"] = "logistic_mixture"
    components: int = Field(default=5, ge=1, le=64)
    channels: Literal[1, 3] = 3
    levels: int = Field(default=256, ge=2, le=256)
    context: bool = True


class StudentT(Config):
    """Each value a real number with heavy tails; the degrees of freedom are learned per channel."""

    kind: Literal["student_t"] = "student_t"


class GaussianLevel(Config):
    """`size` normal latents a step; the prior is N(0, I), or depends on the level below.

    With `couplings` the prior is a coupling flow of a normal instead (`vssm.flow`), still parallel in time.
    """

    kind: Literal["gaussian"] = "gaussian"
    size: Width
    layers: Layers = 2
    couplings: int = Field(default=0, ge=0, le=64, exclude_if=lambda couplings: couplings == 0)

    @model_validator(mode="after")
    def _halves(self) -> GaussianLevel:
        if self.couplings and self.size % 2:
            raise ValueError("a level with couplings needs an even size")
        return self


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
    prefixes: bool = Field(default=False, exclude_if=lambda prefixes: not prefixes)

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Encoder:
        if self.sees_noise and self.kind != "causal":
            raise ValueError("sees_noise needs kind = 'causal'")
        if self.prefixes and self.kind != "bidirectional":
            raise ValueError("prefixes needs kind = 'bidirectional'; a causal encoder takes prefixes anyway")
        return self


class Decoder(Config):
    """p(x | z): width and state size of the stacks of all levels; `linear` leaves only linear maps."""

    width: Width
    state: Width
    linear: bool = False


class Past(Config):
    """The decoder also reads earlier values: p(x_t | z_{1..t}, x_{<t}), exact mode; see `vssm.past`.

    A stack reads the values at the distances `far`, which begin at `near` + 1, and so, by its state, all before them.
    The head reads the last `near` steps itself. So `near` + 1 steps can be made in one parallel pass of the stack.
    """

    near: int = Field(ge=0, le=4096, description="steps before this one that the head reads directly")
    far: tuple[Width, ...] = Field(min_length=1, max_length=1024, description="distances of what the stack reads")
    layers: Layers = 2
    grid: tuple[Width, ...] = Field(
        default=(), max_length=4, description="rows, columns, ... of a step's position, whose embeddings it also reads"
    )
    auxiliary_weight: float = Field(
        default=0.0, ge=0.0, le=1.0, description="of a second head's log-likelihood in training, from the latents alone"
    )

    @model_validator(mode="after")
    def _distances_begin_after_near(self) -> Past:
        if self.far[0] != self.near + 1 or list(self.far) != sorted(set(self.far)):
            raise ValueError(f"far must begin with near + 1 = {self.near + 1} and ascend, each distance once")
        return self

    @property
    def reach(self) -> int:
        """How many earlier steps' values are kept."""
        return self.far[-1]


class Image(Config):
    """How a whole sequence reads as a picture, row by row."""

    height: Width
    width: Width
    channels: Literal[1, 3] = 1


Level = Annotated[GaussianLevel | CategoricalLevel, Field(discriminator="kind")]
Observation = Annotated[Bernoulli | Categorical | Gaussian | LogisticMixture | StudentT, Field(discriminator="kind")]


class SequenceConfig(Config):
    """What every model says of its sequences: `length` steps of `size` values, and what they are."""

    description: str = ""
    modality: Literal["image", "text", "series"] = "series"
    length: int = Field(ge=1, le=2**31, description="the model's own length in steps, the default of generation")
    size: Width
    image: Image | None = None
    observation: Observation
    scaling: Literal["none", "prefix"] = Field(
        default="none",
        exclude_if=lambda scaling: scaling == "none",  # configs, and so fingerprints, are as they were before it
        description="prefix: each channel normalised by mean and standard deviation of the prefix it begins with",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        image = self.image
        if image and image.height * image.width * image.channels != self.length * self.size:
            raise ValueError("image height x width x channels must equal length x size")
        if isinstance(self.observation, LogisticMixture):
            channels = self.observation.channels
            if self.size % channels:
                raise ValueError(f"a step of size {self.size} does not hold whole pixels of {channels} channels")
            if image and image.channels != channels:
                raise ValueError(f"image has {image.channels} channels, its observation {channels}: make them equal")
        if (self.modality == "image") != (image is not None):
            raise ValueError("image is given exactly when modality is 'image'")
        if self.modality == "text" and (self.size != 1 or self.observation.kind != "categorical"):
            raise ValueError("modality 'text' needs size 1 and a categorical observation")
        numbers = self.modality == "series" and self.observation.kind in ("gaussian", "student_t")
        if self.scaling == "prefix" and not numbers:
            raise ValueError("scaling 'prefix' needs modality 'series' and a gaussian or student_t observation")
        return self


class ModelConfig(SequenceConfig):
    """A VSSM: latent levels from coarse to fine, an encoder and a decoder.

    With `past` the decoder is autoregressive as well. Then there may be no levels, and so no encoder: a latent-free
    model, whose bound is the log-likelihood itself.
    """

    family: Literal["vssm"] = Field(default="vssm", exclude=True)  # not written: folders without one are VSSMs
    levels: tuple[Level, ...] = Field(default=(), max_length=16)
    encoder: Encoder | None = Field(default=None, exclude_if=lambda encoder: encoder is None)
    decoder: Decoder
    past: Past | None = Field(default=None, exclude_if=lambda past: past is None)

    @model_validator(mode="after")
    def _not_too_deep(self) -> Self:
        both = [self.encoder] * (1 + (self.encoder is not None and self.encoder.kind == "bidirectional"))  # two stacks
        layers = sum(stack.layers for stack in (*self.levels, *both, self.past) if stack is not None)
        if layers > MAX_LAYERS:
            raise ValueError(f"levels, encoder and past may have {MAX_LAYERS} layers together, not {layers}")
        return self

    @model_validator(mode="after")
    def _latents_and_past(self) -> Self:
        if not self.levels and self.past is None:
            raise ValueError("levels must not be empty, unless the decoder reads the past")
        if bool(self.levels) != (self.encoder is not None):
            raise ValueError("encoder is given exactly when there are levels")
        if self.past is not None and self.decoder.linear:
            raise ValueError("a decoder that reads the past cannot be linear")
        if self.past is not None and self.past.auxiliary_weight and not self.levels:
            raise ValueError("auxiliary_weight needs levels: it is of a head that reads only the latents")
        return self
