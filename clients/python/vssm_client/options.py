"""What can be asked for, and the bytes that ask for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from vssm_client.arrays import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Prefix = Sequence[Sequence[float]] | Sequence[float] | str | NDArray[np.generic]

MAX_KEY_LENGTH = 255


class StartOptions(TypedDict, total=False):
    """What a session keeps from its first request on.

    model         its name; by default the server's own choice
    num_samples   independent sequences; 1 if absent
    seed          drawn by the server when absent
    """

    model: str | None
    num_samples: int | None
    seed: int | None


class ResumeOptions(TypedDict, total=False):
    """What each request of a session can choose; what is left out or None takes the server's default.

    length           new steps; if absent, up to the model's own length; 0 only observes the prefix
    prefix           observed steps that come first: (steps, size), flat when size is 1; text for models of text
    num_particles    latent paths that each sample draws through the prefix
    max_passes       of a model in exact mode: stop after so many, which may make the values approximate
    temperature      of the observations; 0 takes the most likely value
    output           values drawn ("sample") or their means ("mean")
    quantiles        increasing numbers between 0 and 1: quantiles over the samples, for models of series
    ttl_seconds      how long the session is kept after this
    idempotency_key  your own name for this request, for trying it again in another process; by default a UUID
    """

    length: int | None
    prefix: Prefix | None
    num_particles: int | None
    max_passes: int | None
    temperature: float | None
    output: Literal["sample", "mean"] | None
    quantiles: Sequence[float] | None
    ttl_seconds: int | None
    idempotency_key: str | None


class Options(StartOptions, ResumeOptions, total=False):
    """What `generate` and its relatives take: both of the above, and

    session_id   resume this session; model, seed and num_samples come from it
    save         keep the final state as a session; implied when resuming
    session_version  the last one that was answered: an older state is refused; Session objects send it by themselves
    """

    session_id: str | None
    session_version: int | None
    save: bool | None


def body(options: Options, stream: bool) -> bytes:
    """The JSON of a request, without fields that are None. Raises ValueError or TypeError for what JSON has not."""
    fields: dict[str, object] = {
        name: value for name, value in options.items() if value is not None and name != "idempotency_key"
    }
    return dumps({**fields, "stream": True} if stream else fields)


def dumps(fields: Mapping[str, object]) -> bytes:
    """JSON, arrays included. Raises ValueError for NaN and infinity, TypeError for what JSON has not."""
    try:
        return json.dumps(fields, default=plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise ValueError(f"the request must have only finite numbers and no loops ({error})") from None


def checked_key(key: str) -> str:
    """An Idempotency-Key. Raises ValueError for one that cannot be sent."""
    if not (1 <= len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise ValueError(f"idempotency_key must be 1 to {MAX_KEY_LENGTH} printable ASCII characters, not {key!r}")
    return key
