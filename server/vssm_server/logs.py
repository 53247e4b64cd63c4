"""Log lines on stderr: for people, or one JSON object each."""

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from vssm_server.settings import Settings

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029)
}
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_logging(settings: Settings, part: str) -> None:
    """For the whole process; `part` is api, worker or serve."""
    handler = logging.StreamHandler()
    handler.setFormatter(_json(part) if settings.log_format == "json" else Lines(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


class Lines(logging.Formatter):
    """A record is one line, whatever came from outside; the lines of a traceback are indented: none looks like one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        return super().formatMessage(record).translate(_ESCAPED)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback."""
        return "\n".join("    " + line.translate(_ESCAPED) for line in super().formatException(ei).split("\n"))


def _json(part: str) -> logging.Formatter:
    fields = {"levelname": "level", "name": "logger"}
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s", timestamp=True, rename_fields=fields, static_fields={"part": part}
    )
