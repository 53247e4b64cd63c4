"""Python client of the VSSM generation server: `Client`, `AsyncClient`, what they answer and what they raise."""

from vssm_client.aio import AsyncClient
from vssm_client.arrays import ArrayGeneration
from vssm_client.client import Client
from vssm_client.errors import (
    AnswerError,
    ClientError,
    ConflictError,
    ConnectionBrokenError,
    ConnectionFailedError,
    FailedError,
    InvalidError,
    KeyRefusedError,
    NotFoundError,
    ServerError,
    TimedOutError,
    TransportError,
    UnavailableError,
)
from vssm_client.events import join
from vssm_client.models import (
    Chunk,
    Event,
    Generation,
    ImageShape,
    Model,
    Observation,
    Output,
    Quantile,
    SessionInfo,
    Timings,
    Usage,
)
from vssm_client.options import Options, ResumeOptions
from vssm_client.png import Png
from vssm_client.session import AsyncSession, Session

__all__ = [
    "AnswerError",
    "ArrayGeneration",
    "AsyncClient",
    "AsyncSession",
    "Chunk",
    "Client",
    "ClientError",
    "ConflictError",
    "ConnectionBrokenError",
    "ConnectionFailedError",
    "Event",
    "FailedError",
    "Generation",
    "ImageShape",
    "InvalidError",
    "KeyRefusedError",
    "Model",
    "NotFoundError",
    "Observation",
    "Options",
    "Output",
    "Png",
    "Quantile",
    "ResumeOptions",
    "ServerError",
    "Session",
    "SessionInfo",
    "TimedOutError",
    "Timings",
    "TransportError",
    "UnavailableError",
    "Usage",
    "join",
]
