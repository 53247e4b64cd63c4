"""Building requests and reading replies, shared by both clients. Does no input or output itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict
from urllib.parse import quote

from vssm_client.errors import from_json
from vssm_client.models import Chunk, Generation

Prefix = Sequence[Sequence[float]] | Sequence[float] | str


class Options(TypedDict, total=False):
    """Fields of POST /generate; what is left out takes the server's default."""

    model: str
    num_samples: int
    length: int
    prefix: Prefix
    num_particles: int
    seed: int
    temperature: float
    output: Literal["sample", "mean"]
    quantiles: Sequence[float]
    session_id: str | None
    save: bool
    ttl_seconds: int


def body(options: Options, stream: bool = False) -> dict[str, object]:
    """The JSON of a request, without the fields that are None."""
    fields: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    return {**fields, "stream": True} if stream else fields


def session_path(session_id: str, action: str = "") -> str:
    """Where a session is. Raises ValueError for an id that would lead elsewhere."""
    if not session_id.strip("."):
        raise ValueError(f"session_id must be the id of a session, not {session_id!r}")
    return f"/sessions/{quote(session_id, safe='')}{action}"


@dataclass
class EventReader:
    """Server-sent events from bytes; `read` yields a Chunk, or the final Generation, or raises a ServerError.

    Splits at line feeds only: JSON may hold U+2028 and others that httpx's `iter_lines` takes for the end of a line.
    """

    _event: str = "message"
    _data: list[bytes] = field(default_factory=list)
    _rest: list[bytes] = field(default_factory=list)  # of a line that is not yet whole

    def read(self, data: bytes) -> Iterator[Chunk | Generation]:
        """What these bytes complete."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join((*self._rest, end))
            self._rest.clear()
            yield from self._line(line.removesuffix(b"\r"))
        self._rest.append(rest)

    def _line(self, line: bytes) -> Iterator[Chunk | Generation]:
        if line.startswith(b"event:"):
            self._event = line[6:].strip().decode()
        elif line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            event, data = self._event, b"\n".join(self._data)
            self._event, self._data = "message", []
            if event == "chunk":
                yield Chunk.model_validate_json(data)
            elif event == "done":
                yield Generation.model_validate_json(data)
            elif event == "error":
                raise from_json(500, data)
