"""Signatures on what lies in Redis, so that who can write there cannot make it up, change it, or put it elsewhere.

    sealed bytes   HMAC-SHA256 of (purpose, payload), 32 bytes | payload

The purpose says what the payload is and where it belongs: "job", "reply <api>", "session <id> <version>". Nothing is
decoded before its signature was right. What signatures cannot do is tell that something true is old: see `versions`.
"""

import hmac
import os
import secrets
from pathlib import Path

from vssm_server.settings import Settings

SIZE = 32
JOB = "job"
LEAST_KEY_LENGTH = 32  # characters


class SealError(ValueError):
    """Bytes that were not signed with this key for this purpose."""


class SigningKeyError(Exception):
    """There is no signing key that can be used; the message says why and what to do."""


class Seal:
    """Signs and checks; the same key on every host."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, purpose: str, payload: bytes) -> bytes:
        """The payload with its signature."""
        return self._sign(purpose, payload) + payload

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The payload. Raises SealError."""
        payload = sealed[SIZE:]
        if not hmac.compare_digest(sealed[:SIZE], self._sign(purpose, payload)):
            raise SealError(f"the signature of a {purpose.split(' ')[0]} is wrong; do all hosts have one signing key?")
        return payload

    def _sign(self, purpose: str, payload: bytes) -> bytes:
        return hmac.digest(self._key, b"%s\0%s" % (purpose.encode(), payload), "sha256")


def reply_to(api: str) -> str:
    """Purpose of a reply to an API process."""
    return f"reply {api}"


def beat_of(worker: str) -> str:
    """Purpose of a worker's heartbeat."""
    return f"heartbeat {worker}"


def head_of(session_id: str, version: int) -> str:
    """Purpose of a session's head, which has the digest of its state."""
    return f"session {session_id} {version}"


def version_of(text: bytes | None) -> int:
    """A session's version as Redis has it. Raises SealError for what is none."""
    if text is None or not text.isdigit() or len(text) > 15:
        raise SealError("a session has no version")
    return int(text)


def plan_of(record: str, digest: bytes) -> str:
    """Purpose of the plan that is remembered for an Idempotency-Key."""
    return f"plan {record} {digest.hex()}"


def answer_of(record: str) -> str:
    """Purpose of the answer that is remembered for an Idempotency-Key."""
    return f"answer {record}"


def seal_of(settings: Settings) -> Seal:
    """The seal of the settings; without a key, that of the file, which is made if need be. Raises SigningKeyError."""
    key = settings.signing_key or _kept(signing_file(settings))
    if len(key) < LEAST_KEY_LENGTH:
        raise SigningKeyError(
            f"The signing key has {len(key)} characters; {LEAST_KEY_LENGTH} or more random ones are needed, as "
            "`openssl rand -hex 32` makes them."
        )
    return Seal(key.encode())


def signing_file(settings: Settings) -> Path:
    """Where the key is kept when no setting has it."""
    return (settings.signing_key_file or settings.state_folder() / "signing.key").expanduser()


def _kept(path: Path) -> str:
    """The key in a file; made by whoever comes first, whole before anybody can see it, readable for its owner only."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(new, path)
            except FileExistsError:
                pass  # another was quicker
            finally:
                new.unlink()
        return path.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise SigningKeyError(
            f"The signing key {path} cannot be used: {error}. Set VSSM_STATE_DIR to a folder that can be written, or "
            "VSSM_SIGNING_KEY."
        ) from None
