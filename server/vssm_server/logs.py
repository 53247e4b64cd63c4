"""Log lines on stderr: for people, or one JSON object each. No line break of a message gets out as one."""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from pythonjsonlogger.json import JsonFormatter

from vssm_server import request_id
from vssm_server.settings import Settings

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029)
}
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
STDERR = 2

_as_json = False
_part = ""


def start_logging(settings: Settings, part: str) -> None:
    """For the whole process; `part` is api, worker or serve."""
    global _as_json, _part
    _as_json, _part = settings.log_format == "json", part
    handler = logging.StreamHandler()
    handler.setFormatter(_json(part) if _as_json else Text(TEXT))
    handler.addFilter(_name)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)


def note(logger: logging.Logger, message: str, fields: dict[str, object]) -> None:
    """A line at level info about one request, with fields. A fifth of the cost of `logger.info`, as there are many."""
    if not logger.isEnabledFor(logging.INFO):
        return
    if _as_json:
        head = {
            "timestamp": datetime.now(UTC),
            "level": "INFO",
            "logger": logger.name,
            "message": message,
            "part": _part,
        }
        line = orjson.dumps(head | fields, option=orjson.OPT_APPEND_NEWLINE)
    else:
        said = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        now = datetime.now().isoformat(" ", "milliseconds")
        line = f"{now} INFO {logger.name}: {f'{message} {said}'.translate(_ESCAPED)}\n".encode()
    sys.stderr.flush()
    os.write(STDERR, line)


def _name(record: logging.LogRecord) -> bool:
    """Says which request a line is about, unless it says so itself."""
    if "request_id" not in record.__dict__ and (name := request_id.current()) is not None:
        record.request_id = name
    return True


class Text(logging.Formatter):
    """A record is one line, whatever came from outside; the lines of a traceback are indented: none looks like one."""

    default_msec_format = "%s.%03d"  # as in `note`

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line without what an exception adds."""
        line = super().formatMessage(record).translate(_ESCAPED)
        name = record.__dict__.get("request_id")
        return line if name is None else f"{line} request_id={name}"

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback."""
        return "\n".join("    " + line.translate(_ESCAPED) for line in super().formatException(ei).split("\n"))


def _json(part: str) -> logging.Formatter:
    fields = {"levelname": "level", "name": "logger"}
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s", timestamp=True, rename_fields=fields, static_fields={"part": part}
    )
