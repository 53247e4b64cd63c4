"""Bytes of one completion to text, however they come: characters wait for their last byte, stop strings are cut."""

import codecs


class Text:
    """The text of one completion, part by part; the parts together do not depend on how the bytes were cut.

    A completion ends before the stop string that is complete first, as if its bytes had come one by one.
    """

    def __init__(self, stops: tuple[bytes, ...], echoed: bytes = b"") -> None:
        self.stopped = False
        self.tokens = 0  # bytes so far; when stopped, up to the end of the stop string
        self._stops = stops
        self._held = b""  # the beginning of a stop string, perhaps
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lead = self._decoder.decode(echoed)  # the prompt; stop strings in it do not count

    def add(self, data: bytes) -> str:
        """What can be said now."""
        if self.stopped:
            return ""
        lead, self._lead = self._lead, ""
        return lead + self._decoder.decode(self._released(data), final=self.stopped)

    def _released(self, data: bytes) -> bytes:
        """Bytes that no stop string will take back."""
        self.tokens += len(data)
        known = self._held + data
        if (found := _first(known, self._stops)) is not None:
            begin, end = found
            self.stopped = True
            self.tokens -= len(known) - end
            return known[:begin]
        kept = _begun(known, self._stops)
        self._held = known[len(known) - kept :]
        return known[: len(known) - kept]

    def end(self) -> str:
        """What was held back, when no more bytes come."""
        if self.stopped:
            return ""
        return self._decoder.decode(self._held, final=True)

    @property
    def finish_reason(self) -> str:
        """Why it ended."""
        return "stop" if self.stopped else "length"


def _first(data: bytes, stops: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Begin and end of the stop string that ends first; of several, the one that begins first."""
    found = [(begin + len(stop), begin) for stop in stops if (begin := data.find(stop)) >= 0]
    if not found:
        return None
    end, begin = min(found)
    return begin, end


def _begun(data: bytes, stops: tuple[bytes, ...]) -> int:
    """Length of the longest end of `data` with which a stop string begins."""
    most = max(map(len, stops), default=1) - 1
    lengths = range(min(most, len(data)), 0, -1)
    return next((length for length in lengths if any(stop.startswith(data[-length:]) for stop in stops)), 0)
