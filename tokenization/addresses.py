"""Whose request it is, by address: the connection's peer, or what a trusted proxy says of its own peer."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = "unknown"
_HOST_BITS_V6 = 64  # what one household or machine is given (RFC 6177): its addresses are one client
_MAXIMUM_HOPS = 16


def is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    return address is not None and any(address in network for network in networks)


def read_address(text: str) -> Address | None:
    """The address in a text, an IPv4 one written as IPv6 included, or None. Never raises."""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def origin_of(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address, in its canonical form, or ``unknown``. What must hold:

    1. X-Forwarded-For is read only when the connection comes from a trusted proxy: anybody can write the header.
    2. It is read from its end, where the nearest proxy wrote; the first address that is not a trusted proxy is the client.
    3. What cannot be read ends the search at the last hop that was sure: a client cannot hide behind a malformed entry.
    """
    address = read_address(peer or "")
    if address is None:
        return UNKNOWN
    hops = [hop for line in forwarded for hop in line.split(",")][-_MAXIMUM_HOPS:]
    while hops and is_within(address, trusted):  # (1) (2)
        hop = read_address(hops.pop())
        if hop is None:
            break  # (3)
        address = hop
    return str(address)


def network_of(address: str) -> str:
    """What to count a client under: an IPv4 address by itself, an IPv6 one by its /64. Anything else counts as one."""
    read = read_address(address)
    if read is None:
        return UNKNOWN
    return str(ipaddress.ip_network((read, _HOST_BITS_V6), strict=False)) if read.version == 6 else str(read)
