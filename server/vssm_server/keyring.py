"""API keys: named, of 256 random bits, kept as hashes, with scopes and an end. Knows nothing of HTTP.

    key       vssm_<id>_<secret>; the id (not secret) finds the entry, the secret's hash is compared in constant time
    document  {"keys": [{"name", "id", "hash", "scopes", "created", "expires", "quotas"}]}, JSON, read strictly

A fast hash is enough: nobody can try 2^256 secrets, so there is nothing to slow down.
"""

import hashlib
import hmac
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Literal

import msgspec

from vssm_server.quotas import Quotas

Scope = Literal["generate", "sessions", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = ("generate", "sessions", "metrics", "admin")
PREFIX = "vssm_"
MAX_KEY_LENGTH = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NOBODY = hashlib.sha256(b"").hexdigest()

NONE = Quotas()


class KeysError(ValueError):
    """A document of keys, or a name in it, that cannot be used; the message says why."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry. Sessions belong to the name: who gets a new key under it keeps them."""

    name: str
    id: str
    hash: str  # SHA-256 of the whole key, hex
    scopes: tuple[Scope, ...]
    created: datetime
    expires: datetime | None = None
    quotas: Quotas = Quotas()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not re.fullmatch(r"[0-9a-f]{12}", self.id) or not re.fullmatch(r"[0-9a-f]{64}", self.hash):
            raise ValueError("id must be 12 and hash 64 hexadecimal digits")
        if self.expires is not None and self.expires.tzinfo is None:
            raise ValueError("expires needs a time zone, as in 2030-01-01T00:00:00Z")

    def allows(self, scope: Scope | None) -> bool:
        """Whether the key has a scope; `admin` has all, and None asks for none in particular."""
        return scope is None or scope in self.scopes or "admin" in self.scopes

    def expired(self, now: float) -> bool:
        """At a unix time."""
        return self.expires is not None and self.expires.timestamp() <= now


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of keys holds."""

    keys: tuple[Key, ...] = ()

    def __post_init__(self) -> None:
        for what in ("name", "id"):
            values = [getattr(key, what) for key in self.keys]
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {what}")


def check_name(name: str) -> str:
    """The name of a key. Raises KeysError."""
    if not _NAME.fullmatch(name):
        raise KeysError("a name must be 1 to 64 of a-z, 0-9, '.', '_', '-', and begin with a letter or digit")
    return name


def read(data: bytes | str) -> Document:
    """A document of keys. Raises KeysError."""
    try:
        return msgspec.json.decode(data, type=Document)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise KeysError(f"these are no API keys: {error}; `vssm-server key create` makes them") from None


def make(name: str, scopes: tuple[Scope, ...], expires: datetime | None, quotas: Quotas = NONE) -> tuple[Key, str]:
    """A new entry, and the key itself, which nothing keeps."""
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).replace(microsecond=0)
    return Key(name=name, id=key_id, hash=_hash(text), scopes=scopes, created=now, expires=expires, quotas=quotas), text


class KeyRing:
    """The keys that are let in now."""

    def __init__(self, document: Document) -> None:
        self._by_id: dict[str, Key] = {}
        self.replace(document)

    def replace(self, document: Document) -> None:
        """Other keys from now on."""
        self._by_id = {key.id: key for key in document.keys}

    def find(self, text: str) -> Key | None:
        """The entry of a key that is right and has not expired. Takes the same time for any that is wrong."""
        if len(text) > MAX_KEY_LENGTH:
            return None
        key = self._by_id.get(text[len(PREFIX) : len(PREFIX) + 12])
        right = hmac.compare_digest(key.hash if key else _NOBODY, _hash(text))
        return key if key is not None and right and not key.expired(time.time()) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
