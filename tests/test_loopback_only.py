"""The guard that keeps tests on this machine is itself tested, with and without it."""

import _socket
import contextlib
import socket
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.loopback_only import NetworkRefused, is_local, loopback_only

ELSEWHERE = "192.0.2.1"  # TEST-NET-1, RFC 5737: nobody is there


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_beyond_this_machine_is_refused(method: str) -> None:
    with socket.socket() as outgoing, pytest.raises(NetworkRefused):
        getattr(outgoing, method)((ELSEWHERE, 80))


def test_a_datagram_beyond_this_machine_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing, pytest.raises(NetworkRefused):
        outgoing.sendto(b"", (ELSEWHERE, 9))


def test_asking_for_the_address_of_a_name_is_refused() -> None:
    with pytest.raises(NetworkRefused):
        socket.create_connection(("shop.example", 80), timeout=1)


def test_the_refusal_is_not_one_that_a_retry_would_swallow() -> None:
    assert not issubclass(NetworkRefused, OSError)


def test_loopback_and_unix_sockets_stay_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        pass
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(path)
        listener.listen()
        caller.connect(path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", b"127.0.0.1", None])
def test_the_machines_own_addresses_are_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "192.0.2.1", "2001:db8::1", "shop.example", "127.0.0.1.shop.example"])
def test_other_addresses_and_names_are_not_local(host: object) -> None:
    assert not is_local(host)


def test_planted_fault_without_the_guard_nothing_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:  # connecting it sends nothing
        with pytest.raises(NetworkRefused):
            outgoing.connect((ELSEWHERE, 9))
        with contextlib.suppress(OSError):  # the system may have no way there; NetworkRefused is no OSError
            _socket.socket.connect(outgoing, (ELSEWHERE, 9))


def test_the_guard_takes_itself_out_again() -> None:
    before = vars(socket.socket)["connect"], socket.getaddrinfo
    with loopback_only():
        assert vars(socket.socket)["connect"] is not before[0]
        assert socket.getaddrinfo is not before[1]
    assert (vars(socket.socket)["connect"], socket.getaddrinfo) == before


def test_each_database_is_fresh_and_of_its_kind(database_url: str) -> None:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one() == 0
        engine.dispose()
    else:
        assert url.get_backend_name() == "postgresql"
        assert url.database not in (None, "postgres")
