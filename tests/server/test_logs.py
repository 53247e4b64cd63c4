"""Lines for people: nothing that a client sends makes a line of its own."""

import json
import logging
import subprocess
import sys

import pytest
from vssm_server import logs, request_id

EVIL = "a\nERROR b\r\x1b[2J\u2028c"


def test_control_characters_are_shown() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "%s", (EVIL,), None)
    line = logs.Text(logs.TEXT).format(record)
    assert line.endswith(r"x: a\x0aERROR b\x0d\x1b[2J\u2028c")
    assert len(line.splitlines()) == 1


def test_a_note_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("vssm_server.test")
    logger.setLevel(logging.INFO)
    logs.note(logger, "request", {"path": EVIL, "model": None})
    [line] = capfd.readouterr().err.splitlines()
    assert line.endswith(r"INFO vssm_server.test: request path=a\x0aERROR b\x0d\x1b[2J\u2028c")
    logger.setLevel(logging.WARNING)
    logs.note(logger, "request", {})
    assert capfd.readouterr().err == ""


def test_lines_within_a_request_have_its_id() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "m", None, None)
    token = request_id.enter("req_1")
    logs._name(record)
    request_id.leave(token)
    assert logs.Text("%(message)s").format(record) == "m request_id=req_1"


def test_a_warning_of_a_library_is_a_line_too() -> None:
    program = (
        "import warnings; from vssm_server.logs import start_logging; from vssm_server.settings import Settings;"
        "start_logging(Settings(log_format='json'), 'worker'); warnings.warn('beware')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "beware" in json.loads(done.stderr)["message"]
