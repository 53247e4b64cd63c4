"""What both clients take for granted about a connection."""

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 130.0  # a little more than the server's own deadline, whose answer says more
CONNECT_TIMEOUT = 10.0
RETRIES = 4
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)


def checked_url(url: str) -> str:
    """The address of a server. Raises ValueError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url {url!r} is no address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"base_url must be as in {DEFAULT_URL}, with http:// or https://, not {url!r}")
    return url
