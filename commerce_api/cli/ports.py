"""Ports for the development stack: the usual ones where they are free, others where they are not, and a line that says so."""

import socket
from collections.abc import Mapping

from commerce_api.cli.refused import CommandRefused

USUAL: Mapping[str, int] = {"capture": 8701, "internal": 8702, "processor": 8703, "commerce": 8704, "mcp": 8705}
HOST = "127.0.0.1"


def choose_ports(base: int | None) -> tuple[dict[str, int], list[str]]:
    """A port for each listener, and lines about those that are not the usual one.

    ``base`` asks for five ports in a row from there (0: any free ones). Raises CommandRefused when one of them is taken.
    """
    if base is None:
        return _usual_or_free()
    if base == 0:
        return {name: free_port() for name in USUAL}, []
    wanted = {name: base + place for place, name in enumerate(USUAL)}
    taken = [str(port) for port in wanted.values() if not is_free(port)]
    if taken:
        raise CommandRefused(f"port {', '.join(taken)} is in use: stop what uses it, or choose another --port-base")
    return wanted, []


def is_free(port: int) -> bool:
    """Whether this machine's loopback port can be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that the system calls free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _usual_or_free() -> tuple[dict[str, int], list[str]]:
    ports, lines = {}, []
    for name, usual in USUAL.items():
        ports[name] = usual if is_free(usual) else free_port()
        if ports[name] != usual:
            lines.append(f"port {usual} is in use; {name} listens on {ports[name]} instead")
    return ports, lines
