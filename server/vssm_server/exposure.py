"""Whether settings may be served: without API keys, only to this machine."""

import ipaddress
from functools import lru_cache

from vssm_server.settings import Settings


@lru_cache(maxsize=64)  # asked of every request without keys
def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine only."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def has_keys(settings: Settings) -> bool:
    """Whether callers need an API key."""
    return settings.api_keys_file is not None or settings.api_keys is not None


def open_to_strangers(settings: Settings) -> str | None:
    """Why the settings may not be served: no keys, and an address that others reach. None if they may."""
    host = settings.published_host or settings.host
    if has_keys(settings) or settings.allow_anonymous or is_loopback(host):
        return None
    return (
        f"{host} can be reached from other machines, and there are no API keys. Make one (`vssm-server key "
        "create NAME --file keys.json`) and set VSSM_API_KEYS_FILE=keys.json; or listen on 127.0.0.1; or insist with "
        "VSSM_ALLOW_ANONYMOUS=true where something else keeps strangers out."
    )


def who_is_served(settings: Settings) -> str:
    """For people, when the service starts."""
    if has_keys(settings):
        return "served: who has an API key (vssm-server key list)"
    if settings.allow_anonymous:
        return "served: everybody, without API keys (VSSM_ALLOW_ANONYMOUS)"
    return "served: this machine only, as there are no API keys (vssm-server key create)"
