"""`vssm-server serve`: starts Redis, workers and API, starts again what dies, and ends them in order."""

import logging
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vssm_server.process import spawn

INHERITED_SOCKET = "_VSSM_SOCKET"  # number of the listening socket that `serve` hands to its API
TICK_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0  # a child that lived this long starts again at once when it dies

log = logging.getLogger(__name__)


@dataclass
class Child:
    """A process that is started again when it dies, after a pause that grows."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    keep: Sequence[int] = ()
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    due: float = field(default_factory=time.monotonic)

    def tend(self) -> None:
        """Called now and then: notices a death, and starts the process when it is time."""
        now = time.monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self.pause = FIRST_PAUSE_SECONDS if now - self.started > STEADY_SECONDS else self.pause
            log.warning("%s ended (%d); starting it again in %.1f s", self.name, code, self.pause)
            self.due = now + self.pause
            self.pause = min(LONGEST_PAUSE_SECONDS, 2 * self.pause)
        if self.process is None and now >= self.due:
            self.process, self.started = spawn(self.command, self.environment, self.keep), now


class Supervisor:
    """Groups of children, in the order they end: first the API, then the workers, then Redis."""

    def __init__(self, groups: Sequence[Sequence[Child]], drain_seconds: float) -> None:
        self._groups = groups
        self._drain_seconds = drain_seconds
        self._signals = 0

    def run(self, ready: Callable[[], bool], announce: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT; a second one ends everything at once. `announce` is called when `ready` says so."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        announced = False
        while not self._signals:
            for child in self._children():
                child.tend()
            if not announced and ready():
                announce()
                announced = True
            time.sleep(TICK_SECONDS)
        self._stop()

    def _stop(self) -> None:
        for group in self._groups:
            for child in group:
                if child.process is not None:
                    child.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + self._drain_seconds + 5.0
            while any(child.process and child.process.poll() is None for child in group):
                late = time.monotonic() > until or self._signals > 1
                self._tend_others(group)
                for child in group if late else []:
                    if child.process is not None:
                        child.process.kill()
                time.sleep(TICK_SECONDS / 2)

    def _tend_others(self, group: Sequence[Child]) -> None:
        """While the API drains, workers and Redis are still needed."""
        later = self._groups[list(self._groups).index(group) + 1 :]
        for child in (child for group in later for child in group):
            child.tend()

    def _children(self) -> list[Child]:
        return [child for group in reversed(self._groups) for child in group]

    def _on_signal(self, *_: object) -> None:
        self._signals += 1


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, kept open over restarts of the API. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
