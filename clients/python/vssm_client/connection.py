"""What both clients take for granted about a connection."""

import os
from collections.abc import Mapping

import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 130.0  # a little more than the server's own deadline, whose answer says more
CONNECT_TIMEOUT = 10.0
RETRIES = 4
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)

API_KEY = "VSSM_API_KEY"  # environment variable


def headers_with(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """What is sent with every request: a key, by default that of VSSM_API_KEY, unless the headers have their own."""
    key = os.environ.get(API_KEY) if api_key is None else api_key
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("api_key must be printable ASCII without spaces, as in vssm_...")
    return {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}


def checked_url(url: str) -> str:
    """The address of a server. Raises ValueError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url {url!r} is no address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"base_url must be as in {DEFAULT_URL}, with http:// or https://, not {url!r}")
    return url
