"""Keeps tests on this machine: connecting, sending or asking for a name beyond loopback and unix sockets is refused.

It guards this process and CPython's own sockets, which is what asyncio and the libraries here use. Programs that a test starts
are not reached by it.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", ""})
_WITH_ADDRESS = ("connect", "connect_ex", "sendto")


class NetworkRefused(AssertionError):
    """A test tried to leave the machine. Not an OSError, so that no retry or fallback swallows it."""


def is_local(host: object) -> bool:
    """Whether an address, or a name that needs no lookup elsewhere, is this machine's own."""
    text = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host or "")
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text.lower() in LOCAL_NAMES or text.lower() == socket.gethostname().lower()
    return address.is_loopback or address.is_unspecified


@contextmanager
def loopback_only() -> Iterator[None]:
    """Refuses the network while the block runs."""
    looked_up = socket.getaddrinfo

    def lookup(host: Any, *arguments: Any, **named: Any) -> Any:
        if not is_local(host) and not _is_address(host):
            raise NetworkRefused("a test asked for the address of a name that is not local")
        return looked_up(host, *arguments, **named)

    before = {name: vars(socket.socket).get(name) for name in _WITH_ADDRESS}
    for name in _WITH_ADDRESS:
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    socket.getaddrinfo = lookup
    try:
        yield
    finally:
        socket.getaddrinfo = looked_up
        for name, method in before.items():
            if method is None:
                delattr(socket.socket, name)  # the C class's own method shows again
            else:
                setattr(socket.socket, name, method)


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1] if arguments else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple) and not is_local(address[0]):
            raise NetworkRefused("a test tried to reach beyond loopback")
        return method(self, *arguments)

    return guarded


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return True
