"""Ports for servers that come and go while a test runs.

They lie below those that the system gives to whoever calls or binds port 0: else, while a server is down,
somebody's connection may be given its port.
"""

import random
import socket
from typing import Final

_FIRST: Final = 15_000
_LAST: Final = 32_000
"""Linux gives out ports from 32,768 on (`net.ipv4.ip_local_port_range`)."""


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(_FIRST, _LAST), _LAST - _FIRST):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
