"""What travels between the API and the workers: small structs as msgpack. No pickle, no torch, no HTTP.

A request is answered by any number of `Chunk` and then exactly one `Done` or `Failure`.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

LITTLE = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "int64", "float32", "float64")}
MAX_DIMENSIONS = 8


class Array(msgspec.Struct, frozen=True, array_like=True):
    """A numpy array on the wire: raw little-endian bytes, C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        """Raises ValueError, so that decoding fails, when the bytes do not fit dtype and shape."""
        if self.dtype not in LITTLE:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(LITTLE)}")
        size = LITTLE[self.dtype].itemsize * math.prod(self.shape[:MAX_DIMENSIONS])
        extents = LITTLE[self.dtype].itemsize * math.prod(max(1, extent) for extent in self.shape[:MAX_DIMENSIONS])
        too_large = len(self.shape) > MAX_DIMENSIONS or extents >= 2**63  # numpy refuses it, even when it is empty
        if too_large or min(self.shape, default=0) < 0 or size != len(self.data):
            raise ValueError(f"{len(self.data)} bytes are no {self.dtype} array of shape {self.shape}")

    @classmethod
    def pack(cls, array: NDArray[np.generic]) -> "Array":
        """Copies `array` into a message; dtypes uint8, int64, float32 and float64."""
        dtype = LITTLE[array.dtype.name]
        return cls(array.dtype.name, array.shape, np.ascontiguousarray(array, dtype=dtype).tobytes())

    def unpack(self) -> NDArray[np.generic]:
        """The array, read-only."""
        return np.frombuffer(self.data, dtype=LITTLE[self.dtype]).reshape(self.shape)


def _check_dimensions(array: Array, wanted: int) -> None:
    if len(array.shape) != wanted:
        raise ValueError(f"an array of shape {array.shape[:MAX_DIMENSIONS]} instead of {wanted} dimensions")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted `POST /generate`, complete: nothing in it is left to defaults."""

    id: str
    reply_to: str
    model: str
    num_samples: int
    seed: int
    length: int
    prefix: Array | None
    temperature: float
    output: str
    stream: bool
    session_id: str | None  # where the final state goes
    resume: bool  # ... and whether the first state comes from there
    ttl_ms: int | None  # None: as the session has it
    timeout_ms: int
    idempotency: str | None  # name of the record that keeps the answer
    num_particles: int = 1  # latent paths of each sample through the prefix
    request_id: str | None = None  # of the HTTP request, for the logs
    traceparent: str | None = None  # its span, by W3C Trace Context
    max_passes: int | None = None  # of a model whose decoder reads earlier values; fewer than needed approximate
    owner: str = ""  # whose sessions it may resume and makes
    session_version: int = 0  # least version of the session that may be resumed

    def __post_init__(self) -> None:
        """Raises ValueError for what no worker can begin."""
        if min(self.num_samples, self.num_particles, self.max_passes or 1) < 1 or self.length < 0:
            raise ValueError("a request with a count below 1, or a negative length")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"a request with the seed {self.seed}")
        if self.prefix is not None:
            _check_dimensions(self.prefix, 2)


def steps_of(request: Request) -> int:
    """Work of a request: steps of all its samples, those of the prefix for each particle."""
    prefix = 0 if request.prefix is None else request.prefix.shape[0] * request.num_particles
    return request.num_samples * (request.length + prefix)


class Chunk(msgspec.Struct, frozen=True, tag_field="event", tag="chunk"):
    """Steps of a stream; `position` is that after the last of them."""

    id: str
    position: int
    values: Array  # (num_samples, steps, size)
    queue_ms: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for values of another number of dimensions."""
        _check_dimensions(self.values, 3)


class Done(msgspec.Struct, frozen=True, tag_field="event", tag="done", kw_only=True):
    """The end of a request that succeeded; a stream has had its values before."""

    id: str
    fingerprint: str
    seed: int
    position: int
    values: Array | None  # (num_samples, length, size)
    queue_ms: float
    generate_ms: float
    session_version: int | None = None  # of the saved state
    passes: "Passes | None" = None

    def __post_init__(self) -> None:
        """Raises ValueError for values of another number of dimensions."""
        if self.values is not None:
            _check_dimensions(self.values, 3)


class Passes(msgspec.Struct, frozen=True):
    """Of a model whose decoder reads earlier values: passes over the samples, and whether they were too few."""

    mean: float
    max: int
    approximate: bool


class Failure(msgspec.Struct, frozen=True, tag_field="event", tag="failure"):
    """The end of a request that failed; the fields of the HTTP error body."""

    id: str
    type: str
    message: str
    param: str | None
    code: int


Reply = Chunk | Done | Failure


class Observation(msgspec.Struct, frozen=True):
    """What a value of a sequence is."""

    kind: str
    classes: int | None
    low: float | None
    high: float | None
    dtype: str


class Image(msgspec.Struct, frozen=True):
    """Extent of a whole sequence as an image, row major."""

    height: int
    width: int
    channels: int


class ModelInfo(msgspec.Struct, frozen=True):
    """A model as a worker publishes it; the API checks requests against this."""

    name: str
    fingerprint: str
    description: str
    parameters: int
    length: int
    size: int
    observation: Observation
    modality: str
    image: Image | None
    encoder: str
    state_bytes: int
    max_temperature: float
    takes_prefix: str = "anywhere"  # or only at the "start", whole; or "none"
    max_particles: int = 1
    steps_a_pass: int | None = None  # of a model whose decoder reads earlier values: so many are sure


class Device(msgspec.Struct, frozen=True):
    """What a worker computes on."""

    name: str  # as torch has it: cpu, cuda:0
    kind: str
    model: str
    memory_bytes: int  # allocated now
    memory_total_bytes: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A live worker: what it serves, what it does and on what."""

    worker: str
    models: dict[str, ModelInfo]
    failed: dict[str, str]  # name -> what is wrong with that checkpoint
    running: int
    ended: int  # jobs, whatever way
    busy_seconds: float = 0.0  # in passes
    device: Device | None = None


class SessionHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is, beside the bytes of its state."""

    model: str
    fingerprint: str
    seed: int
    position: int
    num_samples: int
    state_bytes: int
    ttl_ms: int
    owner: str = ""  # name of the API key that made it
    digest: bytes = b""  # SHA-256 of the state's bytes


def decoder(kind: Any) -> Callable[[bytes], Any]:
    """What decodes messages of a kind. It raises msgspec.MsgspecError for whatever is wrong with one."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def strict(data: bytes) -> Any:
        try:
            return decode(data)
        except (UnicodeDecodeError, RecursionError) as error:  # these msgspec lets through
            raise msgspec.DecodeError(str(error)) from None

    return strict


encode = msgspec.msgpack.Encoder().encode
decode_request: Callable[[bytes], Request] = decoder(Request)
decode_reply: Callable[[bytes], Reply] = decoder(Reply)
decode_heartbeat: Callable[[bytes], Heartbeat] = decoder(Heartbeat)
decode_head: Callable[[bytes], SessionHead] = decoder(SessionHead)
