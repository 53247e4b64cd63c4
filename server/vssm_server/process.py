"""Child processes that cannot outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Starts a child in a session of its own (the terminal's Ctrl-C is for the parent); `keep` are inherited files."""
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        pass_fds=tuple(keep),
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),
    )


def _die_with(parent: int) -> Callable[[], None]:
    """Linux kills the child when the parent ends, however that happens."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
