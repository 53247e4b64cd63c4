"""From what a client asked to a complete `Request`: defaults filled in, limits and contradictions checked."""

import hashlib
import secrets
from dataclasses import dataclass

from vssm_server.api.prefix import parse_prefix
from vssm_server.api.quantiles import check_quantiles
from vssm_server.api.schema import MAX_SEED, GenerateRequest
from vssm_server.errors import Problem, invalid
from vssm_server.messages import Array, ModelInfo, Request
from vssm_server.sessions import Session, new_id
from vssm_server.settings import Settings


@dataclass(frozen=True)
class Plan:
    """A request and what is needed to answer it."""

    request: Request
    info: ModelInfo
    start: int  # position where generation begins
    prefix_steps: int
    quantiles: tuple[float, ...] = ()

    @property
    def saved_bytes(self) -> int:
        """About the size of the session that it makes."""
        return self.request.num_samples * self.info.state_bytes + 512


def make_plan(
    asked: GenerateRequest,
    info: ModelInfo,
    session: Session | None,
    settings: Settings,
    reply_to: str,
    idempotency: str | None,
    owner: str = "",
) -> Plan:
    """Raises Problem."""
    if session is not None:
        _check_session(asked, info, session)
    num_samples = session.head.num_samples if session else asked.num_samples or 1
    prefix = None if asked.prefix is None else parse_prefix(asked.prefix, info, settings.max_prefix_steps)
    steps = 0 if prefix is None else len(prefix)
    if prefix is not None:
        work = num_samples * asked.num_particles * steps
        if work > settings.max_observed_steps:
            message = (
                f"num_samples x num_particles x steps of the prefix must be at most {settings.max_observed_steps}, "
            )
            raise invalid("prefix", f"{message}not {work}.")
        _check_prefix(asked, info, session, work, settings)
    start = steps + (session.head.position if session else 0)
    length = _length(asked, info, start)
    _check_limits(asked, info, num_samples, length, settings)
    quantiles = check_quantiles(asked, info, num_samples)
    saving = asked.save or session is not None
    request = Request(
        id="gen_" + secrets.token_hex(16),
        reply_to=reply_to,
        model=info.name,
        num_samples=num_samples,
        seed=session.head.seed if session else drawn_seed(idempotency) if asked.seed is None else asked.seed,
        length=length,
        prefix=None if prefix is None else Array.pack(prefix),
        temperature=asked.temperature,
        output=asked.output,
        stream=asked.stream,
        session_id=session.id if session else new_id() if saving else None,
        resume=session is not None,
        ttl_ms=_ttl_ms(asked.ttl_seconds, settings, session is None),
        timeout_ms=int(settings.deadline_seconds * 1000),
        idempotency=idempotency,
        num_particles=asked.num_particles,
        owner=owner,
        session_version=session.version if session else 0,
        max_passes=asked.max_passes,
    )
    return Plan(request, info, start, steps, quantiles)


def drawn_seed(idempotency: str | None) -> int:
    """A retry after a failure draws the same seed, so that what a client has of a broken stream stays right."""
    if idempotency is None:
        return secrets.randbelow(MAX_SEED + 1)
    return int.from_bytes(hashlib.sha256(f"seed {idempotency}".encode()).digest()[:8], "big") & MAX_SEED


def _ttl_ms(ttl_seconds: int | None, settings: Settings, new: bool) -> int | None:
    if ttl_seconds is None:
        return settings.default_ttl_seconds * 1000 if new else None
    return check_ttl(ttl_seconds, settings) * 1000


def check_ttl(ttl_seconds: int, settings: Settings) -> int:
    """Raises Problem when a session may not be kept that long."""
    if ttl_seconds > settings.max_ttl_seconds:
        raise invalid("ttl_seconds", f"ttl_seconds must be from 1 to {settings.max_ttl_seconds}, not {ttl_seconds}.")
    return ttl_seconds


def _check_session(asked: GenerateRequest, info: ModelInfo, session: Session) -> None:
    head = session.head
    for name, wanted, has in (
        ("model", asked.model, head.model),
        ("seed", asked.seed, head.seed),
        ("num_samples", asked.num_samples, head.num_samples),
    ):
        if wanted is not None and wanted != has:
            message = f"{name} is {str(wanted)[:60]!r}, but the session has {has!r}. Leave {name} out when resuming."
            raise Problem("session_conflict", message, name)
    if head.fingerprint != info.fingerprint:
        message = (
            "The session was made by another checkpoint of this model, so it cannot be continued. Start a new one."
        )
        raise Problem("fingerprint_mismatch", message, "session_id")


def _check_prefix(
    asked: GenerateRequest, info: ModelInfo, session: Session | None, work: int, settings: Settings
) -> None:
    """A bidirectional encoder reads a prefix as a whole: before any other step, and in one pass, which is bounded."""
    if info.takes_prefix != "start":
        return
    if session is not None:
        message = (
            f"The model {info.name!r} reads a prefix as a whole, from the first step on; the session is at position "
            f"{session.head.position}. Start a new sequence with all observed steps as its prefix."
        )
        raise invalid("prefix", message)
    if work > settings.max_request_steps:
        message = (
            f"The model {info.name!r} reads a prefix as a whole: num_samples x num_particles x its steps must be at "
            f"most {settings.max_request_steps}, not {work}."
        )
        raise invalid("prefix", message)


def _length(asked: GenerateRequest, info: ModelInfo, start: int) -> int:
    if asked.length == 0 and (asked.prefix is None or not (asked.save or asked.session_id)):
        message = (
            "length must be at least 1; 0 is for observing a prefix that is saved (prefix with save or session_id)."
        )
        raise invalid("length", message)
    if asked.length is not None:
        return asked.length
    if start >= info.length:
        message = (
            f"The sequence is at position {start} of the model's {info.length} steps already; say length to go on."
        )
        raise invalid("length", message)
    return info.length - start


def _check_particles(asked: GenerateRequest, info: ModelInfo, num_samples: int, settings: Settings) -> None:
    if asked.num_particles > 1 and asked.prefix is None:
        raise invalid("num_particles", "num_particles are for observing a prefix: give a prefix, or leave them out.")
    if asked.num_particles > info.max_particles:
        message = f"num_particles must be at most {info.max_particles} with the model {info.name!r}; leave it out."
        raise invalid("num_particles", message)
    rows = num_samples * asked.num_particles
    if rows > settings.max_num_samples:
        message = f"num_samples x num_particles must be at most {settings.max_num_samples}, not {rows}."
        raise invalid("num_particles", message)


def _check_limits(asked: GenerateRequest, info: ModelInfo, num_samples: int, length: int, settings: Settings) -> None:
    if num_samples > settings.max_num_samples:
        raise invalid("num_samples", f"num_samples must be from 1 to {settings.max_num_samples}, not {num_samples}.")
    _check_particles(asked, info, num_samples, settings)
    if asked.max_passes is not None and info.steps_a_pass is None:
        message = f"max_passes is for models in exact mode; {info.name!r} takes one pass for all steps. Leave it out."
        raise invalid("max_passes", message)
    if length > settings.max_length:
        raise invalid("length", f"length must be from 1 to {settings.max_length}, not {length}.")
    if num_samples * length > settings.max_request_steps:
        message = f"num_samples x length must be at most {settings.max_request_steps}, not {num_samples * length}."
        raise invalid("length", message)
    if asked.temperature > info.max_temperature:
        message = f"temperature must be from 0 to {info.max_temperature:g}, not {asked.temperature:g}."
        raise invalid("temperature", message)
