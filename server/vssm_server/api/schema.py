"""The JSON that goes in and out, as OpenAPI describes it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from vssm_server.errors import STATUS

MAX_SEED = 2**63 - 1
MAX_PARTICLES = 64
PASSES_LIMIT = (
    "For models in exact mode (those with steps_a_pass): stop after so many passes. Where they are too few for exact "
    "samples the values are an approximation, and the answer's passes say so."
)

Prefix = Annotated[
    object,
    WithJsonSchema(
        {
            "description": "Observed steps that generation continues: (steps, size); a flat list when size is 1; "
            "a string for text models.",
            "anyOf": [
                {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                {"type": "array", "items": {"type": "number"}},
                {"type": "string"},
                {"type": "null"},
            ],
        }
    ),
]

EXAMPLES: dict[str, dict[str, object]] = {
    "samples": {"summary": "Four digits", "value": {"model": "mnist", "num_samples": 4, "seed": 7}},
    "prefix": {
        "summary": "Complete an image from its first rows (two blank ones here)",
        "value": {"model": "mnist", "prefix": [[0] * 28, [0] * 28], "num_samples": 8, "seed": 1},
    },
    "quantiles": {
        "summary": "Forecast with a model trained by recipes/etth1.toml: joint paths that continue a series, quantiles",
        "value": {
            "model": "etth1",
            "prefix": [[5.8, 2.0, 1.6, 0.5, 4.2, 1.3, 30.5], [5.7, 2.1, 1.5, 0.4, 4.1, 1.4, 27.8]],
            "length": 24,
            "num_samples": 200,
            "quantiles": [0.1, 0.5, 0.9],
        },
    },
    "stream": {"summary": "Stream chunks", "value": {"model": "mnist", "stream": True, "seed": 3}},
    "save": {"summary": "Half a sequence, kept", "value": {"model": "mnist", "length": 14, "seed": 7, "save": True}},
    "resume": {
        "summary": "The other half",
        "value": {"session_id": "sess_0123456789abcdef0123456789abcdef", "length": 14},
    },
}


class GenerateRequest(BaseModel):
    """What to generate. Limits that depend on the server's settings are checked beside this."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    model: str | None = Field(None, description="Name of the model; the server's default one if left out.")
    num_samples: int | None = Field(None, ge=1, description="Independent sequences; 1 if absent.")
    length: int | None = Field(
        None, ge=0, description="New steps; if absent, up to the model's own length. 0 only observes a prefix."
    )
    prefix: Prefix = None
    num_particles: int = Field(
        1,
        ge=1,
        le=MAX_PARTICLES,
        description="Latent paths that each sample draws through the prefix; it goes on with one of them, chosen by "
        "its importance weight. More are nearer to what the model says of the rest given the prefix, and take longer.",
    )
    max_passes: int | None = Field(
        None,
        ge=1,
        description=PASSES_LIMIT,
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Drawn and returned when absent.")
    temperature: float = Field(1.0, ge=0, description="Of the observations; 0 takes the most likely value.")
    output: Literal["sample", "mean"] = Field("sample", description="Values drawn, or their means.")
    quantiles: list[float] | None = Field(
        None,
        description="For models of series: also answer with these quantiles over the samples, at each step of each "
        "channel; 1 to 99 increasing numbers between 0 and 1. num_samples must be 2 or more: with few samples they "
        "are coarse, and those beyond 1/num_samples or 1 - 1/num_samples are little more than the extremes.",
    )
    stream: bool = Field(False, description="Answer with server-sent events, chunk by chunk.")
    session_id: str | None = Field(None, description="Resume this session; model, seed and num_samples come from it.")
    session_version: int | None = Field(
        None,
        ge=0,
        lt=2**53,
        description="The last session_version that you were answered: a state that is older, as after an attack on the "
        "server's storage or its loss, is refused.",
    )
    save: bool = Field(False, description="Keep the final state as a session; implied when resuming.")
    ttl_seconds: int | None = Field(None, ge=1, description="How long the session is kept after this.")


class ForkRequest(BaseModel):
    """How long the copy is kept."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ttl_seconds: int | None = Field(None, ge=1, description="As the original when absent.")


class Output(BaseModel):
    """One of the `num_samples` sequences."""

    index: int = Field(description="Of the sample, from 0.")
    values: list[list[float]] | list[float] = Field(description="(steps, size), flat when size is 1.")
    text: str | None = Field(description="The values as UTF-8, for text models.")
    finish_reason: Literal["length", "end"] = Field(description="Why there are no more steps.")


class Quantile(BaseModel):
    """A quantile over the samples."""

    quantile: float = Field(description="As it was asked for.")
    values: list[list[float]] | list[float] = Field(description="(steps, size), flat when size is 1.")


class Usage(BaseModel):
    """Work done."""

    prefix_steps: int = Field(description="Steps observed.")
    generated_steps: int = Field(description="Steps generated, in all samples together.")


class PassesResponse(BaseModel):
    """How many parallel passes a model in exact mode took, instead of one for each step."""

    mean: float = Field(description="Over the samples.")
    max: int = Field(description="Of the sample that took most.")
    approximate: bool = Field(description="True where max_passes stopped before the values were exact samples.")


class Timings(BaseModel):
    """Milliseconds."""

    queue_ms: float = Field(description="Waiting for a worker.")
    generate_ms: float = Field(description="Computing.")
    total_ms: float = Field(description="From the arrival of the request to the answer.")


class GenerateResponse(BaseModel):
    """The whole result. A stream's `done` event is the same with outputs that have no values."""

    id: str = Field(description="Of the request.")
    model: str = Field(description="The model's name.")
    fingerprint: str = Field(description="Names the checkpoint: a hash of its configuration and weights.")
    seed: int = Field(description="As it was given or drawn; the same seed makes the same values.")
    session_id: str | None = Field(description="Where the final state was saved, if it was.")
    session_version: int | None = Field(description="How often the session was saved; send it with the next request.")
    position: int = Field(description="Steps of a sequence so far, the prefix and earlier requests included.")
    outputs: list[Output] = Field(description="The samples.")
    quantiles: list[Quantile] | None = Field(None, description="Only where asked for; in a stream, with every chunk.")
    usage: Usage = Field(description="Steps observed and generated.")
    passes: PassesResponse | None = Field(None, description="Of models in exact mode only.")
    timings: Timings = Field(description="Milliseconds spent.")


class SessionResponse(BaseModel):
    """A saved state."""

    id: str = Field(description="Of the session.")
    model: str = Field(description="The model's name.")
    fingerprint: str = Field(description="Names the checkpoint that made the state; no other can resume it.")
    seed: int = Field(description="Of all its requests.")
    version: int = Field(description="How often it was saved.")
    position: int = Field(description="Steps of a sequence so far.")
    num_samples: int = Field(description="Independent sequences.")
    state_bytes: int = Field(description="Size of what is saved.")
    created: str = Field(description="UTC, ISO 8601.")
    expires: str = Field(description="UTC, ISO 8601.")


class ObservationResponse(BaseModel):
    """What a value is."""

    kind: str = Field(description="Its distribution.")
    classes: int | None = Field(description="How many values there are, where they are classes.")
    low: float | None = Field(description="The smallest value, where there is one.")
    high: float | None = Field(description="The largest value, where there is one.")
    dtype: str = Field(description="Of the values as npy.")


class ImageResponse(BaseModel):
    """Extent of a whole sequence as an image."""

    height: int = Field(description="Pixels.")
    width: int = Field(description="Pixels.")
    channels: int = Field(description="1 for grey, 3 for red, green and blue.")


class ModelResponse(BaseModel):
    """A model that is served, or (status `failed`) could not be, with the reason in `error`."""

    name: str = Field(description="What requests call it.")
    status: Literal["ready", "failed"] = Field(description="Whether it can be used.")
    error: str | None = Field(default=None, description="Why it cannot.")
    fingerprint: str | None = Field(default=None, description="Names the checkpoint.")
    description: str | None = Field(default=None, description="In words.")
    parameters: int | None = Field(default=None, description="Numbers that were trained.")
    length: int | None = Field(default=None, description="Steps of a sequence by default.")
    size: int | None = Field(default=None, description="Values of a step.")
    observation: ObservationResponse | None = Field(default=None, description="What a value is.")
    modality: str | None = Field(default=None, description="What a sequence is: image, text or series.")
    image: ImageResponse | None = Field(default=None, description="Extent, for models of images.")
    encoder: str | None = Field(default=None, description="causal or bidirectional.")
    state_bytes: int | None = Field(default=None, description="Size of the state of one sample, at any position.")
    max_temperature: float | None = Field(default=None, description="The largest temperature.")
    takes_prefix: Annotated[
        str | None,
        Field(description="Where a prefix may stand: anywhere, also in a session; at the start only; or none."),
    ] = None
    max_particles: Annotated[int | None, Field(description="The largest num_particles; 1: leave it out.")] = None
    steps_a_pass: Annotated[
        int | None, Field(description="Of a model in exact mode: steps that every pass is sure to make.")
    ] = None


class ModelList(BaseModel):
    """All models."""

    models: list[ModelResponse] = Field(description="By name.")


class ErrorBody(BaseModel):
    """What was wrong, what is allowed, what to do."""

    type: str = Field(
        description="Stable; see the list in the description of the API.", json_schema_extra={"enum": [*STATUS]}
    )
    message: str = Field(description="In words.")
    param: str | None = Field(description="The field it is about.")
    code: int = Field(description="The HTTP status.")
    request_id: str | None = Field(description="As in the header X-Request-ID, and in the server's log.")


class ErrorResponse(BaseModel):
    """Every error looks like this."""

    error: ErrorBody = Field(description="What happened.")
