"""A picture as bytes that remember where they came from."""

from typing import Self

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Png(bytes):
    """The bytes of a PNG file; `id`, `seed` and `session_id` are those of the request. Notebooks show it."""

    id: str
    seed: int
    session_id: str | None

    def __new__(cls, content: bytes, id: str, seed: int, session_id: str | None) -> Self:
        """Raises ValueError when the bytes are no PNG file."""
        if not content.startswith(SIGNATURE):
            raise ValueError("no PNG file")
        png = super().__new__(cls, content)
        png.id, png.seed, png.session_id = id, seed, session_id
        return png

    def _repr_png_(self) -> bytes:
        return bytes(self)
