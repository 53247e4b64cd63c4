"""Python client of the VSSM generation server."""

from vssm_client.client import AsyncClient, Client
from vssm_client.errors import ClientError, ConflictError, InvalidError, NotFoundError, ServerError, UnavailableError
from vssm_client.models import Chunk, Generation, Model, Output, Quantile, Session

__all__ = [
    "AsyncClient",
    "Chunk",
    "Client",
    "ClientError",
    "ConflictError",
    "Generation",
    "InvalidError",
    "Model",
    "NotFoundError",
    "Output",
    "Quantile",
    "ServerError",
    "Session",
    "UnavailableError",
]
