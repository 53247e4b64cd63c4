"""What all commands share: flags, where messages go, and errors without tracebacks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from vssm_client.client import Client
from vssm_client.connection import DEFAULT_URL, RETRIES, TIMEOUT
from vssm_client.errors import (
    ClientError,
    ConnectionFailedError,
    InvalidError,
    KeyRefusedError,
    NotFoundError,
    ServerError,
)

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[str, typer.Option("--url", envvar="VSSM_URL", help="Where the server is.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="VSSM_API_KEY",
        show_default=False,
        help="Where the server wants one; VSSM_API_KEY keeps it off the command line.",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.", min=0.001)]
Retries = Annotated[int, typer.Option("--retries", help="How often to try again what may pass by itself.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="Id of a session, as sess_...")]


class _Tries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        err.print(record.getMessage(), markup=False)


@contextmanager
def connected(
    url: str = DEFAULT_URL, timeout: float = TIMEOUT, retries: int = RETRIES, api_key: str | None = None
) -> Iterator[Client]:
    """A client that says when it tries again; whatever goes wrong ends the program with a message.

    Exit codes: 2 for what the caller can put right, 1 for trouble with the server.
    """
    log, handler = logging.getLogger("vssm_client"), _Tries()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with Client(url, timeout, retries=retries, api_key=api_key) as client:
            yield client
    except ConnectionFailedError as error:
        stop(f"{error}. Is it running? `vssm-server serve` starts one; --url or VSSM_URL names another.", 1)
    except (InvalidError, KeyRefusedError, NotFoundError) as error:
        stop(error.message)
    except ClientError as error:
        stop(error.message if isinstance(error, ServerError) else str(error), 1)
    except (ValueError, ImportError) as error:
        stop(str(error))
    except OSError as error:
        stop(f"{error.filename or 'file'}: {error.strerror or error}")
    finally:
        log.removeHandler(handler)


def stop(message: str, status: int = 2) -> NoReturn:
    """Ends the program with a message instead of a traceback."""
    err.print(f"error: {message}", markup=False)
    raise typer.Exit(status)
