"""Log lines on stderr: for people, or one JSON object each."""

import logging

from pythonjsonlogger.json import JsonFormatter

from vssm_server.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_logging(settings: Settings, part: str) -> None:
    """For the whole process; `part` is api, worker or serve."""
    handler = logging.StreamHandler()
    handler.setFormatter(_json(part) if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


def _json(part: str) -> logging.Formatter:
    fields = {"levelname": "level", "name": "logger"}
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s", timestamp=True, rename_fields=fields, static_fields={"part": part}
    )
