"""The control: an API that keeps some bytes of every request for ever, as a real program that a soak must find.

`python -m tests.soak.leaking api` is `python -m vssm_server api` with that leak of `SOAK_LEAK_BYTES`, 2048 by default.
"""

import os

from starlette.types import Receive, Scope, Send
from vssm_server.api import serve
from vssm_server.api.access import Access
from vssm_server.cli import app

BYTES = int(os.environ.get("SOAK_LEAK_BYTES", "2048"))
KEPT: list[bytes] = []


class Leaking(Access):
    """As the layer around every request, but it forgets nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        KEPT.append(os.urandom(BYTES))  # written, so that it is resident
        await super().__call__(scope, receive, send)


if __name__ == "__main__":
    vars(serve)["Access"] = Leaking
    app()
