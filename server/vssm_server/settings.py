"""All settings, read from `VSSM_*` environment variables; the command line offers each as a flag too.

Units are in the names. A `VSSM_*` variable that is not a setting is an error with the closest name, never ignored.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "VSSM_"
DAY = 86_400
DECADE = 3650 * DAY
LIBRARY_VARIABLES = frozenset({"VSSM_DATA", "VSSM_URL", "VSSM_API_KEY"})  # not the server's
SECRET = frozenset({"api_keys", "signing_key"})  # no flags, as every user of the machine can read those


class Settings(BaseSettings):
    """What an operator can choose; frozen once read."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address the HTTP server listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the HTTP server listens on; 0 takes a free one.")
    api_keys_file: Path | None = Field(
        default=None,
        description="File of API keys, as `vssm-server key create` makes it; read again when it changes. Without keys "
        "everybody is let in, and only a loopback address is served.",
    )
    api_keys: str | None = Field(
        default=None, repr=False, description="The content of such a file instead, for containers; variable only."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Serve any address without API keys: for a host behind a gateway that keeps strangers out.",
    )
    published_host: str | None = Field(
        default=None,
        description="Address on which a gateway publishes this server, where that is not `host`: it decides whether "
        "others can reach it.",
    )
    key_requests_per_minute: int = Field(
        default=0, ge=0, description="Accepted requests of an API key; 0: no limit. A key may have quotas of its own."
    )
    key_steps_per_minute: int = Field(
        default=0, ge=0, description="Steps of an API key, samples x (prefix + length); 0: no limit."
    )
    key_concurrent_requests: int = Field(
        default=512, ge=0, description="Accepted, unanswered requests of an API key; 0: no limit."
    )
    key_open_streams: int = Field(default=128, ge=0, description="Streams of an API key at once; 0: no limit.")
    key_stored_sessions: int = Field(default=10_000, ge=0, description="Sessions of an API key; 0: no limit.")
    key_stored_bytes: int = Field(
        default=2**28, ge=0, description="Bytes of the states of an API key's sessions; 0: no limit."
    )
    key_share: int = Field(
        default=8,
        ge=1,
        description="Requests of an API key that the workers see at once, for each worker; the others of the key wait, "
        "so that they keep nobody else waiting. A key that is alone has 16 times as much.",
    )
    redis_url: str | None = Field(
        default=None,
        description="Redis of the queue and the sessions; without it `serve` runs its own in the state directory.",
    )
    signing_key: str | None = Field(
        default=None,
        repr=False,
        description="Signs what APIs and workers keep in Redis: 32 or more random characters, the same for all; "
        "variable only.",
    )
    signing_key_file: Path | None = Field(
        default=None,
        description="File of the signing key, made when it is missing; by default signing.key in the state directory.",
    )
    state_dir: Path = Field(
        default=Path("~/.local/state/vssm"),
        description="Folder of the embedded Redis, the signing key and the versions of sessions: what is kept.",
    )
    appendfsync: Literal["everysec", "always"] = Field(
        default="everysec",
        description="When the embedded Redis syncs its log to disk. A killed process loses nothing either way; "
        "a power cut loses up to a second with `everysec`, nothing with `always`.",
    )
    models: str = Field(
        default="",
        description="Names, checkpoint folders, or owner/name[@revision] on the Hugging Face hub, separated by commas; "
        "empty: all shipped models.",
    )
    default_model: str = Field(
        default="mnist",
        description="Model of requests that name none; where it is not served, and several are, they must name one.",
    )
    models_dir: Path | None = Field(
        default=None, description="A folder of checkpoint folders, all served as well; it may be empty or missing."
    )
    device: str = Field(default="cpu", description="Torch device of the worker, as in `cpu` or `cuda:0`.")
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Compute threads of a worker; 0 leaves it to torch; `serve` keeps a core for API and Redis then.",
    )
    workers: int = Field(default=1, ge=1, le=64, description="Worker processes that `serve` runs.")
    max_num_samples: int = Field(default=1024, ge=1, description="Largest num_samples of a request.")
    max_length: int = Field(default=131_072, ge=1, description="Largest length (new steps) of a request.")
    max_request_steps: int = Field(default=262_144, ge=1, description="Largest num_samples x length of a request.")
    max_prefix_steps: int = Field(default=131_072, ge=1, description="Largest number of observed steps of a request.")
    max_observed_steps: int = Field(
        default=4_194_304, ge=1, description="Largest num_samples x num_particles x observed steps of a request."
    )
    max_json_depth: int = Field(default=16, ge=1, le=256, description="Deepest nesting of a JSON body.")
    max_url_bytes: int = Field(default=8192, ge=256, description="Longest URL of a request.")
    max_header_bytes: int = Field(default=16_384, ge=1024, description="Largest headers of a request, all together.")
    max_connections: int = Field(
        default=16_384,
        ge=1,
        description="Open connections of an API process, as far as it may open files (ulimit -n). The next takes the "
        "place of idle ones, and is closed at once where there are none.",
    )
    header_seconds: float = Field(
        default=15.0, gt=0, le=DAY, description="Time for the head of a request, from its first byte on."
    )
    body_seconds: float = Field(default=60.0, gt=0, le=DAY, description="Time for the body of a request.")
    idle_seconds: int = Field(
        default=60,
        ge=1,
        le=DAY,
        description="A connection on which nothing is sent is kept this long, as others can always take its place.",
    )
    read_seconds: float = Field(
        default=30.0,
        gt=0,
        le=DAY,
        description="A client that reads less than 1024 bytes a second for this long, while more waits, is cut off.",
    )
    max_stream_buffer_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Values that may wait in the API for the client of one stream."
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may use the API from a browser, separated by commas; none by default.",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="Serve HTTPS with this certificate chain (PEM); or let a proxy in front do it."
    )
    tls_key_file: Path | None = Field(default=None, description="The private key of the certificate (PEM).")
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024, description="Largest body of a request.")
    default_ttl_seconds: int = Field(
        default=3600, ge=1, le=DECADE, description="How long a session is kept after its last use."
    )
    max_ttl_seconds: int = Field(default=604_800, ge=1, le=DECADE, description="Largest ttl_seconds of a request.")
    deadline_seconds: float = Field(
        default=120.0, gt=0, le=DAY, description="A request that takes longer is answered with 504."
    )
    queue_limit: int = Field(
        default=1024, ge=1, description="Accepted, unanswered requests; one more is answered with 429."
    )
    idempotency_seconds: int = Field(
        default=600,
        ge=1,
        le=DECADE,
        description="How long the answer to a request with an Idempotency-Key is kept for retries.",
    )
    chunk_steps: int = Field(
        default=1024, ge=1, description="Most steps of a sequence in one pass, so also in a chunk."
    )
    pass_steps: int = Field(
        default=32_768, ge=1, description="Most sequences x steps in one pass: bounds a worker's memory."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, le=DAY, description="How long SIGTERM waits for accepted requests."
    )
    stall_seconds: float = Field(
        default=60.0,
        gt=0,
        le=DAY,
        description="A worker whose pass takes longer hangs: it ends, is started again, and others take its jobs.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is logged.")
    log_format: Literal["text", "json"] = Field(default="text", description="Log lines for people or as JSON.")

    @field_validator(
        "models_dir",
        "api_keys_file",
        "api_keys",
        "published_host",
        "signing_key",
        "signing_key_file",
        "tls_certificate_file",
        "tls_key_file",
        mode="before",
    )
    @classmethod
    def _none_when_empty(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("VSSM_TLS_CERTIFICATE_FILE and VSSM_TLS_KEY_FILE belong together")
        return self

    @property
    def scheme(self) -> str:
        """http, or https with a certificate."""
        return "http" if self.tls_certificate_file is None else "https"

    def environment(self) -> dict[str, str]:
        """The same settings as `VSSM_*` variables, for child processes."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}

    def state_folder(self) -> Path:
        """The state directory with `~` resolved."""
        return self.state_dir.expanduser().absolute()


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """One sentence for each `VSSM_*` variable that is not a setting."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | LIBRARY_VARIABLES
    return [
        f"{name} is not a setting{_suggestion(name, known)}."
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known
    ]


def _suggestion(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}" if close else ""
