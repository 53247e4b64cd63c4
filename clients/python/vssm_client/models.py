"""What the server answers, as typed objects. Fields that a newer server adds are ignored."""

from pydantic import BaseModel, ConfigDict

Values = list[list[float]] | list[float]


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


class Usage(_Answer):
    """Steps observed and generated."""

    prefix_steps: int
    generated_steps: int


class Timings(_Answer):
    """Milliseconds."""

    queue_ms: float
    generate_ms: float
    total_ms: float


class Generation(_Answer):
    """The result of a request; `session_id` is set when its state was saved, `quantiles` when they were asked for."""

    id: str
    model: str
    fingerprint: str
    seed: int
    session_id: str | None
    position: int
    outputs: list[Output]
    quantiles: list[Quantile] | None = None
    usage: Usage
    timings: Timings


class Chunk(_Answer):
    """A part of a stream: the values up to `position`, and their quantiles where they were asked for."""

    position: int
    outputs: list[Output]
    quantiles: list[Quantile] | None = None


class Session(_Answer):
    """A saved state."""

    id: str
    model: str
    fingerprint: str
    seed: int
    position: int
    num_samples: int
    state_bytes: int


class Model(_Answer):
    """A model that the server knows; `status` "failed" comes with the `error`."""

    name: str
    status: str
    error: str | None = None
    description: str | None = None
    length: int | None = None
    size: int | None = None
    takes_prefix: str | None = None
