"""Building requests and reading replies, shared by both clients. Does no input or output itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from vssm_client.errors import from_json
from vssm_client.models import Chunk, Generation

Prefix = Sequence[Sequence[float]] | Sequence[float] | str


class Options(TypedDict, total=False):
    """Fields of POST /generate; what is left out takes the server's default."""

    model: str
    num_samples: int
    length: int
    prefix: Prefix
    seed: int
    temperature: float
    output: Literal["sample", "mean"]
    session_id: str | None
    save: bool
    ttl_seconds: int


def body(options: Options, stream: bool = False) -> dict[str, object]:
    """The JSON of a request, without the fields that are None."""
    fields: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    return {**fields, "stream": True} if stream else fields


@dataclass
class EventReader:
    """Server-sent events from lines; `read` yields a Chunk, or the final Generation, or raises a ServerError."""

    _event: str = "message"
    _data: list[str] = field(default_factory=list)

    def read(self, line: str) -> Iterator[Chunk | Generation]:
        """What this line completes."""
        if line.startswith("event:"):
            self._event = line[6:].strip()
        elif line.startswith("data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            event, data = self._event, "\n".join(self._data)
            self._event, self._data = "message", []
            if event == "chunk":
                yield Chunk.model_validate_json(data)
            elif event == "done":
                yield Generation.model_validate_json(data)
            elif event == "error":
                raise from_json(500, data.encode())
