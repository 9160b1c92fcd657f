"""Several machines train as one: each reads its own files, and what must be the same on all of them is told to all before.

    offer-engine train mine*.jsonl.gz --kind boosted --machines 10.0.0.1:12400,10.0.0.2:12400 --this 0      on the first
    offer-engine train mine*.jsonl.gz --kind boosted --machines 10.0.0.1:12400,10.0.0.2:12400 --this 1      on the second

The first machine gathers what each has (names, counts, sums) and hands all of it to all. A linear model is made from that
alone; trees then grow over LightGBM's own sockets, which use the same ports.

What holds:
 1. Only machines of the list are listened to, each for its own place and once; anybody else is hung up on.
 2. Everything that is read is bounded in size and in time. What arrives is data: JSON and arrays, never a pickle.
 3. All machines were given the same options, or none of them trains.
 4. Nothing is secret and nothing is proved here, nor in LightGBM's sockets: the ports belong into a network of their own.
"""

import hashlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import sleep
from typing import Any, Final

from offer_engine.learning.linear import ModelInvalid
from tokenization.clock import monotonic_seconds

MOST_MACHINES: Final = 64
MOST_BYTES: Final = 256 * 1024 * 1024  # what one machine may tell: ten thousand offers' sums of a linear model
_HELLO: Final = struct.Struct("!8s32sIQ")  # the protocol, the options' hash, the machine's place, how many bytes follow
_LENGTH: Final = struct.Struct("!Q")
_PROTOCOL: Final = b"cordon-1"
_STEP_SECONDS: Final = 120.0  # for one machine to say what it has, once it is connected
_RETRY_SECONDS: Final = 0.2


class MachinesRefused(ModelInvalid):
    """The list of machines cannot be used. The message says what one looks like."""


class MachinesApart(ModelInvalid):
    """The machines did not come together. The message says which is missing, or that they differ in their options."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Where each machine listens (an IPv4 address and a port), and which of them this is."""

    places: tuple[tuple[str, int], ...]
    this: int
    wait_seconds: float = 7_200.0

    @classmethod
    def parsed(cls, text: str, this: int, wait_seconds: float = 7_200.0) -> "Machines":
        """From ``10.0.0.1:12400,10.0.0.2:12400``. Raises MachinesRefused."""
        try:
            places = tuple(_place(each) for each in text.split(","))
        except ValueError:
            raise MachinesRefused("machines are IPv4 addresses with ports: 10.0.0.1:12400,10.0.0.2:12400") from None
        if not 2 <= len(places) <= MOST_MACHINES or len(set(places)) < len(places):
            raise MachinesRefused(f"machines are 2 to {MOST_MACHINES}, each named once")
        if not 0 <= this < len(places):
            raise MachinesRefused(f"--this is the machine's own place in the list, from 0 to {len(places) - 1}")
        return cls(places, this, wait_seconds)

    def lightgbm(self) -> dict[str, Any]:
        """LightGBM's parameters for the same machines: rows stay where they are, histograms travel."""
        return {
            "machines": ",".join(f"{host}:{port}" for host, port in self.places),
            "num_machines": len(self.places),
            "local_listen_port": self.places[self.this][1],
            "time_out": max(1, round(self.wait_seconds / 60)),
            "tree_learner": "data",
            "pre_partition": True,
        }


def gathered(
    machines: Machines, options: str, mine: bytes, now: Callable[[], float] = monotonic_seconds
) -> list[bytes]:
    """What each machine has, in the list's order; ``options`` must be the same on all (3). Raises MachinesApart."""
    digest = hashlib.sha256(options.encode()).digest()
    until = now() + machines.wait_seconds
    if len(mine) > MOST_BYTES:
        raise MachinesApart(f"a machine may tell {MOST_BYTES:,} bytes, there are {len(mine):,}")
    return (
        _hosted(machines, digest, mine, until, now) if machines.this == 0 else _told(machines, digest, mine, until, now)
    )


def _hosted(machines: Machines, digest: bytes, mine: bytes, until: float, now: Callable[[], float]) -> list[bytes]:
    """The first machine's part: it waits for all, then tells all."""
    found: dict[int, bytes] = {0: mine}
    callers: dict[int, socket.socket] = {}
    with _listening(machines.places[0]) as listener, ExitStack() as opened:
        while len(found) < len(machines.places):
            missing = sorted(set(range(len(machines.places))) - found.keys())
            listener.settimeout(max(until - now(), 0.001))
            try:
                caller, (host, _) = listener.accept()
            except TimeoutError:
                raise MachinesApart(f"machines that did not come: {missing}") from None
            opened.callback(caller.close)
            place, said = _heard(caller, host, machines, digest)
            if place is None or place in found:  # (1)
                caller.close()
                continue
            found[place], callers[place] = said, caller
        everything = [found[place] for place in range(len(machines.places))]
        for place, caller in callers.items():
            try:
                caller.settimeout(_STEP_SECONDS)
                for each in everything:
                    caller.sendall(_LENGTH.pack(len(each)))
                    caller.sendall(each)
                caller.recv(1)  # they hang up first, so that this port is free for LightGBM at once
            except OSError:
                raise MachinesApart(f"machine {place} was lost") from None
    return everything


def _heard(caller: socket.socket, host: str, machines: Machines, digest: bytes) -> tuple[int | None, bytes]:
    """A machine's place and what it has; no place for whoever is none of them (1) (2). Raises MachinesApart."""
    if host not in {address for address, _ in machines.places[1:]}:
        return None, b""
    try:
        protocol, theirs, place, length = _HELLO.unpack(_received(caller, _HELLO.size))
        if protocol != _PROTOCOL or not 0 < place < len(machines.places) or length > MOST_BYTES:
            return None, b""
        if host != machines.places[place][0]:
            return None, b""
        if theirs != digest:
            raise MachinesApart(f"machine {place} was given other options than this one")  # (3)
        return place, _received(caller, length)
    except OSError:
        return None, b""


def _told(machines: Machines, digest: bytes, mine: bytes, until: float, now: Callable[[], float]) -> list[bytes]:
    """Every other machine's part: it tells the first what it has, and hears what all have."""
    with _connected(machines, until, now) as first:
        try:
            first.settimeout(_STEP_SECONDS)
            first.sendall(_HELLO.pack(_PROTOCOL, digest, machines.this, len(mine)) + mine)
            found: list[bytes] = []
            for _ in machines.places:
                wait_seconds = _STEP_SECONDS if found else max(until - now(), _STEP_SECONDS)
                [length] = _LENGTH.unpack(_received(first, _LENGTH.size, wait_seconds))
                if length > MOST_BYTES:
                    raise MachinesApart("what the first machine says is no list of what all have")
                found.append(_received(first, length))
        except OSError:
            raise MachinesApart("the first machine hung up: it was given other options, or was stopped") from None
    return found


@contextmanager
def _connected(machines: Machines, until: float, now: Callable[[], float]) -> Iterator[socket.socket]:
    """A way to the first machine, which may still be reading."""
    connection = None
    while connection is None:
        try:
            connection = socket.create_connection(
                machines.places[0], _STEP_SECONDS, source_address=(machines.places[machines.this][0], 0)
            )
        except OSError:
            if now() >= until:
                raise MachinesApart("the first machine did not come") from None
            sleep(_RETRY_SECONDS)
    with connection:
        yield connection


@contextmanager
def _listening(place: tuple[str, int]) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server(place, backlog=MOST_MACHINES)
    except OSError:
        raise MachinesApart("this machine cannot listen at its own place in the list") from None
    with listener:
        yield listener


def _received(connection: socket.socket, length: int, seconds: float = _STEP_SECONDS) -> bytes:
    """So many bytes, all of them within so many seconds. Raises OSError, also where the other end stops before (2)."""
    until = monotonic_seconds() + seconds
    parts: list[bytes] = []
    missing = length
    while missing:
        connection.settimeout(max(until - monotonic_seconds(), 0.001))
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            raise ConnectionError("the other end hung up")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    if not 1_024 <= int(port) <= 65_535:
        raise ValueError("no port")
    return str(ipaddress.IPv4Address(host)), int(port)
