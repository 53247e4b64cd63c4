"""Several hosts on one machine: network namespaces joined by veth pairs. Needs root and iproute2.

here (10.77.1.1) --- (10.77.1.2) hub: Redis, API
worker host N (10.77.(N+2).1) --- (10.77.(N+2).2) hub
"""

import asyncio
import os
import shutil
import subprocess
from types import TracebackType

HUB = "vssm-hub"


def missing() -> str | None:
    """Why this cannot be done here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (package iproute2)"
    name = f"vssm-probe-{os.getpid()}"
    probe = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if probe.returncode:
        return f"network namespaces cannot be made here: {probe.stderr.strip()}"
    _ip("netns", "del", name)
    return None


class Hosts:
    """A hub and `workers` hosts that reach nothing but the hub; we reach the hub too."""

    hub_address = "10.77.1.2"  # as we see it

    def __init__(self, workers: int) -> None:
        self.names = [f"vssm-host-{number}" for number in range(workers)]

    def __enter__(self) -> "Hosts":
        self.__exit__(None, None, None)
        _ip("netns", "add", HUB)
        _ip("-n", HUB, "link", "set", "lo", "up")
        _join(1, None)
        for number, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _join(number + 2, name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["ip", "link", "del", "vssm-1"], capture_output=True)
        for name in [HUB, *self.names]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def hub_address_of(self, number: int) -> str:
        """The hub as worker host `number` sees it."""
        return f"10.77.{number + 2}.2"

    async def cut(self, number: int, seconds: float) -> None:
        """Pulls the plug of a worker host, and puts it in again."""
        _ip("-n", HUB, "link", "set", f"hub-{number + 2}", "down")
        await asyncio.sleep(seconds)
        _ip("-n", HUB, "link", "set", f"hub-{number + 2}", "up")


def on(name: str) -> list[str]:
    """The command that runs another on that host."""
    return ["ip", "netns", "exec", name]


def _join(network: int, name: str | None) -> None:
    """A cable between the hub and a host, or this machine."""
    there = ["-n", name] if name is not None else []
    _ip(*there, "link", "add", f"vssm-{network}", "type", "veth", "peer", "name", f"hub-{network}", "netns", HUB)
    for place, link, address in ((there, f"vssm-{network}", 1), (["-n", HUB], f"hub-{network}", 2)):
        _ip(*place, "addr", "add", f"10.77.{network}.{address}/24", "dev", link)
        _ip(*place, "link", "set", link, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
