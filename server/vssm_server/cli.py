"""The command line: `serve`, and its parts `api` and `worker`. Every setting is a flag of each."""

import importlib.util
import inspect
import os
import secrets
import signal
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from vssm_server import cli_keys, tracing
from vssm_server.logs import start_logging
from vssm_server.settings import PREFIX, SECRET, Settings, unknown_variables
from vssm_server.wording import wrong

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from vssm_server.seal import Seal

app = typer.Typer(
    name="vssm-server",
    help="Generation server for variational state space models.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


def stop(message: str, status: int = 2) -> NoReturn:
    """Ends the program with a message instead of a traceback."""
    complaints.print(f"error: {message}", markup=False)
    raise typer.Exit(status)


def read_settings(flags: dict[str, Any]) -> Settings:
    """Flags over environment over defaults; anything wrong ends the program with a message."""
    if problems := unknown_variables():
        stop(" ".join(problems) + " See --help for all settings.")
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        stop("; ".join(_wrong(item) for item in error.errors()))
    return settings


def _wrong(item: "ErrorDetails") -> str:
    """What is wrong with which setting. Values of secrets are not shown."""
    if not item["loc"]:
        return item["msg"].removeprefix("Value error, ")
    name = str(item["loc"][0])
    value = "" if name in SECRET else f", not {item['input']!r}"
    return wrong(f"{PREFIX}{name.upper()}", item["msg"]) + value


def check_callers(settings: Settings) -> None:
    """Ends the program if its API keys cannot be read, or if strangers could reach it and there are none."""
    from vssm_server.exposure import open_to_strangers
    from vssm_server.keyfile import ring_of
    from vssm_server.keyring import KeysError

    if (danger := open_to_strangers(settings)) is not None:
        stop(danger)
    try:
        ring_of(settings)
    except KeysError as error:
        stop(f"{error}.")


def command(run: Callable[[Settings], None]) -> None:
    """Registers a command whose options are the settings."""

    def call(**flags: Any) -> None:
        settings = read_settings(flags)
        if (obstacle := tracing.obstacle()) is not None:
            stop(obstacle)
        start_logging(settings, run.__name__)
        run(settings)

    parameters = []
    for name, field in Settings.model_fields.items():
        if name in SECRET:
            continue
        kind = int if field.annotation is int else float if field.annotation is float else str
        default = "" if field.default in (None, "") else f"default: {field.default}; "
        flag = "--" + name.replace("_", "-")
        option = typer.Option(
            None, flag, help=f"{field.description} ({default}{PREFIX}{name.upper()})", show_default=False
        )
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)
        )
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = inspect.cleandoc(run.__doc__ or "")
    app.command(run.__name__)(call)


def need_redis(settings: Settings) -> str:
    """The Redis URL. Ends the program if there is none."""
    if settings.redis_url is None:
        stop("VSSM_REDIS_URL is needed, as in redis://host:6379/0; or use `vssm-server serve`, which runs its own.")
    if not settings.redis_url.startswith(("redis://", "rediss://", "unix://")):
        stop(f"VSSM_REDIS_URL must begin with redis://, rediss:// or unix://, not {settings.redis_url[:20]!r}.")
    from redis.connection import parse_url

    try:
        parse_url(settings.redis_url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        stop(f"VSSM_REDIS_URL cannot be used: {error}.")
    return settings.redis_url


def need_library() -> None:
    """Ends the program if the model library is not installed; does not import it."""
    if importlib.util.find_spec("vssm") is None:
        stop('the model library is not installed; a worker needs it: pip install "vssm-server[worker]".')


def need_seal(settings: Settings) -> "Seal":
    """What signs. Ends the program if there is no key for it."""
    from vssm_server.seal import SigningKeyError, seal_of

    try:
        return seal_of(settings)
    except SigningKeyError as error:
        stop(str(error))


def open_socket(settings: Settings) -> socket.socket:
    """The listening socket. Ends the program if it cannot be had."""
    from vssm_server.supervisor import listen

    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        reason = error.strerror or str(error)
        stop(f"cannot listen on {settings.host}:{settings.port}: {reason}. Choose another with --port or VSSM_PORT.")


def api(settings: Settings) -> None:
    """Run only the HTTP part; needs VSSM_REDIS_URL and no torch.

    Example:

      vssm-server api --redis-url redis://127.0.0.1:6379/0 --port 8001
    """
    need_redis(settings)
    check_callers(settings)
    need_seal(settings)
    from vssm_server.api.serve import run_api
    from vssm_server.supervisor import INHERITED_SOCKET

    inherited = os.environ.get(INHERITED_SOCKET)
    run_api(settings, open_socket(settings) if inherited is None else socket.socket(fileno=int(inherited)))


def worker(settings: Settings) -> None:
    """Run only a worker; needs VSSM_REDIS_URL and the model library.

    Example:

      vssm-server worker --redis-url redis://127.0.0.1:6379/0 --models mnist --threads 2
    """
    url = need_redis(settings)
    need_library()
    from vssm_server.catalog import load_catalog
    from vssm_server.connect import connect
    from vssm_server.engine import Engine
    from vssm_server.journal import Journal
    from vssm_server.queue import Queue
    from vssm_server.versions import versions_of
    from vssm_server.worker import Worker

    client, name = connect(url), f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    queue = Queue(client, name, need_seal(settings), versions_of(settings))
    engine = Engine(settings.chunk_steps, settings.pass_steps)
    journal = Journal(tracing.start("worker", name))
    process = Worker(client, queue, engine, load_catalog(settings), journal, settings.stall_seconds)

    def end(*_: object) -> None:
        process.stopping = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    process.run()


def serve(settings: Settings) -> None:
    """Run everything on this machine: an embedded Redis (unless VSSM_REDIS_URL is set), workers and the API.

    Examples:

      vssm-server serve

      vssm-server serve --port 9000 --models mnist,runs/mine/best --workers 2
    """
    need_library()
    check_callers(settings)
    need_seal(settings)
    from vssm_server.local import serve_locally
    from vssm_server.valkey import StateFolderError

    if settings.redis_url is not None:
        need_redis(settings)
    with open_socket(settings) as listening:
        try:
            serve_locally(settings, listening, out)
        except StateFolderError as error:
            stop(str(error))


def check(settings: Settings) -> None:
    """Look for what would keep the service from working: settings, port, Redis, device, models, a generation each.

    Example:

      vssm-server check --models mnist
    """
    if settings.redis_url is not None:
        need_redis(settings)
    from vssm_server.check.report import report

    if not report(settings, out):
        raise typer.Exit(1)


class Part(StrEnum):
    """What can be asked for its health."""

    API = "api"
    WORKER = "worker"


@app.command()
def healthy(part: Part) -> None:
    """Exit 0 if the API or the worker on this host does its work; for container health checks. Reads VSSM_*.

    Example:

      vssm-server healthy api
    """
    from vssm_server import health

    settings = read_settings({})
    trouble = health.of_api(settings) if part is Part.API else health.of_worker(need_redis(settings))
    if trouble is not None:
        stop(trouble, 1)
    out.print("healthy")


@app.command()
def openapi() -> None:
    """Print the description of the HTTP interface, openapi.json, without a server; for what is generated from it.

    Example:

      vssm-server openapi
    """
    import json

    from vssm_server.api.app import create_app

    unused = read_settings({"redis_url": "redis://unused"})
    typer.echo(json.dumps(create_app(unused).openapi(), indent=2))


command(serve)
command(api)
command(worker)
command(check)
app.add_typer(cli_keys.app, name="key")
