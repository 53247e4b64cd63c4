"""The servers of the end-to-end tests, for the clients."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.clients.proxy import Proxy
from tests.e2e.conftest import beside, models, serve, start
from tests.e2e.serving import Serve

__all__ = ["beside", "models", "serve", "start"]


@pytest.fixture
def url(serve: Serve) -> str:
    """Of the server for everybody."""
    return str(serve.client.base_url)


@pytest.fixture
def proxy(serve: Serve) -> Iterator[Callable[[Sequence[int | None]], Proxy]]:
    """Starts proxies in front of the server for everybody."""
    started: list[Proxy] = []

    def begin(cuts: Sequence[int | None] = ()) -> Proxy:
        started.append(Proxy(serve.client.base_url.port or 80, cuts))
        return started[-1]

    yield begin
    for each in started:
        each.close()
