"""What the server answers, as typed objects. Fields that a newer server adds are ignored.

Whole numbers stay ints: values of pixels, bits and bytes are `int`, those of series and means `float`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from vssm_client import arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Ints = Annotated[list[StrictInt], Field(fail_fast=True)]
_Floats = Annotated[list[float], Field(fail_fast=True)]
Values = Annotated[
    Annotated[list[_Ints], Field(fail_fast=True)] | _Ints | Annotated[list[_Floats], Field(fail_fast=True)] | _Floats,
    Field(union_mode="left_to_right"),
]
"""(steps, size), flat when size is 1; all `int` or all `float`."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Output(_Answer):
    """One sequence; `values` (steps, size), flat when size is 1; None where a stream already sent them."""

    index: int
    values: Values | None = None
    text: str | None = None
    finish_reason: str | None = None


class Quantile(_Answer):
    """A quantile over the samples; `values` (steps, size), flat when size is 1."""

    quantile: float
    values: Values

    def array(self) -> NDArray[np.generic]:
        """The values as (steps, size). Raises ImportError without numpy."""
        array: NDArray[np.generic] = arrays.of_rows([self.values])[0]
        return array


class _Sequences(_Answer):
    outputs: list[Output]
    quantiles: list[Quantile] | None = None

    def array(self) -> NDArray[np.generic]:
        """The values of all sequences, (num_samples, steps, size): int64 or, as the server has them, float32.

        Raises ImportError without numpy, ValueError when there are no values (the last event of a stream).
        """
        rows = [output.values for output in self.outputs if output.values is not None]
        if not rows:
            raise ValueError("there are no values here: the chunks of the stream had them; see vssm_client.join")
        return arrays.of_rows(rows)


class Usage(_Answer):
    """Steps observed, and steps generated in all samples together."""

    prefix_steps: int
    generated_steps: int


class Passes(_Answer):
    """Of a model in exact mode: parallel passes over the samples, and whether `max_passes` made them too few."""

    mean: float
    max: int
    approximate: bool


class Timings(_Answer):
    """Milliseconds: waiting, computing, and from the request's arrival to the answer."""

    queue_ms: float
    generate_ms: float
    total_ms: float


class Generation(_Sequences):
    """The result of a request; `session_id` is set when its state was saved, `quantiles` when they were asked for,
    `passes` by a model in exact mode.

    `seed` is the one that was drawn where none was given; `position` counts all steps of a sequence, earlier ones and
    the prefix included; `session_version` how often the session was saved; `fingerprint` names the checkpoint.
    """

    id: str
    model: str
    fingerprint: str
    seed: int
    session_id: str | None
    session_version: int | None = None
    position: int
    usage: Usage
    passes: Passes | None = None
    timings: Timings


class Chunk(_Sequences):
    """A part of a stream: the values up to `position`, and their quantiles where they were asked for."""

    position: int


Event = Chunk | Generation


class SessionInfo(_Answer):
    """What is saved under an id, and until when; times are in UTC."""

    id: str
    model: str
    fingerprint: str
    seed: int
    version: int | None = None
    position: int
    num_samples: int
    state_bytes: int
    created: datetime
    expires: datetime


class Observation(_Answer):
    """What a value of a model is: its kind, and its range where it has one."""

    kind: str
    classes: int | None = None
    low: float | None = None
    high: float | None = None
    dtype: str


class ImageShape(_Answer):
    """Extent of a whole sequence as an image, in pixels."""

    height: int
    width: int
    channels: int


class Model(_Answer):
    """A model that the server knows; `status` "failed" comes with the `error` and none of the other fields.

    A sequence has by default `length` steps of `size` values; its state takes `state_bytes` per sample. `takes_prefix`
    is "anywhere", "start" or "none"; `max_particles` the largest num_particles; `steps_a_pass`,
    of a model in exact mode, how many steps every pass is sure to make.
    """

    name: str
    status: Literal["ready", "failed"]
    error: str | None = None
    fingerprint: str | None = None
    description: str | None = None
    parameters: int | None = None
    length: int | None = None
    size: int | None = None
    observation: Observation | None = None
    modality: str | None = None
    image: ImageShape | None = None
    encoder: str | None = None
    state_bytes: int | None = None
    max_temperature: float | None = None
    takes_prefix: str | None = None
    max_particles: int | None = None
    steps_a_pass: int | None = None


class ModelList(_Answer):
    """All models, by name."""

    models: list[Model]
