"""Streams: events from bytes, what is new of them after a break, and the whole from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from vssm_client.models import Chunk, Event, Generation, Output, Quantile, Values
from vssm_client.replies import error_of, parse

BROKEN_OFF = "the stream ended before its last event"


@dataclass
class EventReader:
    """Server-sent events from bytes; `read` yields a Chunk, or the final Generation, or raises a ServerError.

    Splits at line feeds only: JSON may hold U+2028 and others that httpx's `iter_lines` takes for the end of a line.
    """

    _event: str = "message"
    _data: list[bytes] = field(default_factory=list)
    _rest: list[bytes] = field(default_factory=list)  # of a line that is not yet whole

    def read(self, data: bytes) -> Iterator[Event]:
        """What these bytes complete."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join((*self._rest, end))
            self._rest.clear()
            yield from self._line(line.removesuffix(b"\r"))
        self._rest.append(rest)

    def _line(self, line: bytes) -> Iterator[Event]:
        if line.startswith(b"event:"):
            self._event = line[6:].strip().decode(errors="replace")
        elif line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            event, data = self._event, b"\n".join(self._data)
            self._event, self._data = "message", []
            if event == "chunk":
                yield parse(Chunk, data)
            elif event == "done":
                yield parse(Generation, data)
            elif event == "error":
                raise error_of(500, data)


@dataclass
class Delivery:
    """What of a stream has been delivered. After a break it is sent from its beginning again, maybe cut otherwise.

    The values are the same, as the server promises for a request with a key; so `new` drops what was delivered.
    """

    done: bool = False
    _position: int | None = None
    _told: dict[int, int] = field(default_factory=dict)  # characters of each output's text that were delivered
    _heard: dict[int, int] = field(default_factory=dict)  # ... and that this connection has brought

    def connected(self) -> None:
        """The stream begins, or begins again."""
        self._heard.clear()

    def new(self, event: Event) -> Event | None:
        """The part of an event that was not delivered before, if any."""
        if isinstance(event, Generation):
            self.done = True
            return event
        texts = [self._text(output) for output in event.outputs]
        steps = max((len(output.values or ()) for output in event.outputs), default=0)
        old = 0 if self._position is None else max(0, self._position - (event.position - steps))
        if self._position is not None and old >= steps:
            return None
        self._position = event.position
        outputs = [_cut(output, old, text) for output, text in zip(event.outputs, texts, strict=True)]
        quantiles = None if event.quantiles is None else [_cut_quantile(each, old) for each in event.quantiles]
        return event.model_copy(update={"outputs": outputs, "quantiles": quantiles})

    def _text(self, output: Output) -> str | None:
        if output.text is None:
            return None
        index, before = output.index, self._heard.get(output.index, 0)
        self._heard[index] = before + len(output.text)
        told = self._told.get(index, 0)
        self._told[index] = max(told, self._heard[index])
        return output.text[max(0, told - before) :]


def _cut(output: Output, old: int, text: str | None) -> Output:
    values = None if output.values is None else output.values[old:]
    return output.model_copy(update={"values": values, "text": text})


def _cut_quantile(quantile: Quantile, old: int) -> Quantile:
    return quantile.model_copy(update={"values": quantile.values[old:]})


def join(events: Iterable[Event]) -> Generation:
    """The whole result of a stream: the final Generation with the values, texts and quantiles of all chunks.

    Raises ValueError when the last event is missing.
    """
    *chunks, done = events
    if not isinstance(done, Generation) or not all(isinstance(chunk, Chunk) for chunk in chunks):
        raise ValueError("these are not the events of one whole stream: its last one must be a Generation")
    parts = [chunk.outputs for chunk in chunks]
    outputs = [_joined(output, [part[output.index] for part in parts]) for output in done.outputs]
    levels = [chunk.quantiles for chunk in chunks if chunk.quantiles is not None]
    quantiles = [
        Quantile.model_construct(quantile=each[0].quantile, values=_chain(level.values for level in each))
        for each in zip(*levels, strict=True)
    ]
    return done.model_copy(update={"outputs": outputs, "quantiles": quantiles or None})


def _joined(output: Output, parts: list[Output]) -> Output:
    values = _chain(part.values for part in parts if part.values is not None)
    if all(part.text is None for part in parts):
        return output.model_copy(update={"values": values})
    text = bytes(byte for byte in values if isinstance(byte, int)).decode(errors="replace")
    return output.model_copy(update={"values": values, "text": text})  # a cut character at the end was not streamed


def _chain(parts: Iterable[Values]) -> list[object]:
    return list(chain.from_iterable(parts))
