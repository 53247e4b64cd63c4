"""A TCP proxy that breaks connections: the nth after so many bytes of the answer as the nth of `cuts` says."""

import contextlib
import socket
import threading
from collections.abc import Sequence


class Proxy:
    """In front of a port of this host; the connections after those of `cuts` are left alone.

    A cut after 0 bytes waits for the answer to begin, so the request has arrived and nobody hears of it.
    """

    def __init__(self, port: int, cuts: Sequence[int | None] = (), own_port: int = 0) -> None:
        self._port, self._cuts = port, cuts
        self._listening = socket.create_server(("127.0.0.1", own_port))
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = self._start(self._accept)

    def close(self) -> None:
        """Ends all connections."""
        for each in (self._listening, *self._sockets):
            _end(each)
        self._accepting.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += near, far
                cut = self._cuts[self.connections] if self.connections < len(self._cuts) else None
                self.connections += 1
                self._start(self._pump, near, far, None)
                self._start(self._pump, far, near, cut)

    def _pump(self, source: socket.socket, sink: socket.socket, cut: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if cut is not None and len(data) > cut:
                    sink.sendall(data[:cut])
                    break
                sink.sendall(data)
                cut = None if cut is None else cut - len(data)
        _end(source)
        _end(sink)

    def _start(self, target: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        return thread


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def free_port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
