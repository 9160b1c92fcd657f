"""The table of rates: a client's bucket, who a client is, and that workers count together."""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_api.agents_api import presented
from commerce_api.rates import BURST_SECONDS, Rates, client_of, shared_table
from tokenization.addresses import network_of

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Time:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@contextmanager
def table(time: Time, **options: Any) -> Iterator[Rates]:
    """A table that is closed in the end."""
    rates = Rates(time, **{"presented": presented, **options})
    try:
        yield rates
    finally:
        rates.close()


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(0.1, 50),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_a_client_gets_no_more_than_its_burst_and_its_rate_over_the_time(rate: float, pauses: list[float]) -> None:
    time = Time()
    with table(time) as rates:
        taken = 0
        for pause in pauses:
            time.seconds += pause
            taken += rates.take("client", rate) == 0
        elapsed = sum(pauses[1:])
        assert taken <= rate * (BURST_SECONDS + elapsed) + 1e-6
        assert taken >= min(len(pauses), int(rate * BURST_SECONDS))


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0.1, 50), calls=st.integers(1, 600))
def test_who_waits_as_long_as_told_is_let_through(rate: float, calls: int) -> None:
    time = Time()
    with table(time) as rates:
        for _ in range(calls):
            time.seconds += rates.take("client", rate)
        wait = rates.take("client", rate)
        time.seconds += wait
        assert wait == 0 or rates.take("client", rate) == 0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    time = Time()
    with table(time) as rates:
        while rates.take("client", 1) == 0:
            pass
        time.seconds -= 500
        assert rates.take("client", 1) > 0


def test_workers_count_together() -> None:
    descriptor = shared_table()
    time = Time()
    try:
        with table(time, descriptor=descriptor) as one, table(time, descriptor=descriptor) as other:
            taken = [rates.take("client", 1) == 0 for _ in range(BURST_SECONDS) for rates in (one, other)]
    finally:
        os.close(descriptor)
    assert sum(taken) == BURST_SECONDS


def test_planted_fault_workers_with_tables_of_their_own_let_twice_as_much_through() -> None:
    time = Time()
    with table(time) as one, table(time) as other:
        taken = [rates.take("client", 1) == 0 for _ in range(BURST_SECONDS) for rates in (one, other)]
    assert sum(taken) == 2 * BURST_SECONDS


def test_a_crowd_of_addresses_refuses_nobody_else() -> None:
    time = Time()
    with table(time) as rates:
        for number in range(60_000):  # over three times the rows
            assert rates.take(f"crowd {number}", 1) == 0
        assert rates.take("somebody else", 1) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # not a proxy of ours: its word counts for nothing
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["10.9.9.9, 198.51.100.1"], "198.51.100.1"),  # what the client wrote itself stands before
        ("127.0.0.1", ["198.51.100.1", "127.0.0.2"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, made up"], "127.0.0.1"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_a_client_is_the_last_address_that_is_no_proxy_of_ours(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    assert client_of({"client": (peer, 1) if peer else None, "headers": headers}, LOOPBACK) == client


def test_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    assert network_of("2001:db8:1:2::5") == network_of("2001:db8:1:2:ffff::1") != network_of("2001:db8:1:3::5")
    assert network_of("203.0.113.7") != network_of("203.0.113.8")


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0.1, 50), sizes=st.lists(st.integers(1, 64), min_size=1, max_size=100))
def test_what_is_taken_at_once_counts_as_often_and_a_full_bucket_lets_all_through(
    rate: float, sizes: list[int]
) -> None:
    time = Time()
    with table(time) as rates:
        most = max(1, rate * BURST_SECONDS - 1)
        taken = sum(min(size, most) for size in sizes if rates.take("client", rate, size) == 0)
        assert taken <= max(1, rate * BURST_SECONDS) + 1e-6
        time.seconds += BURST_SECONDS + 1 / rate
        assert rates.take("client", rate, max(sizes)) == 0 or rate * BURST_SECONDS < 1


def test_where_a_client_stands_is_another_place_in_every_table() -> None:
    descriptors = [shared_table(), shared_table()]
    try:
        with (
            table(Time(), descriptor=descriptors[0]) as one,
            table(Time(), descriptor=descriptors[0]) as fellow,
            table(Time(), descriptor=descriptors[1]) as other,
            table(Time()) as alone,
        ):
            ours, *others = ([rates._row_of(f"{n}", 0) for n in range(20)] for rates in (one, fellow, other, alone))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    assert ours == others[0]
    assert not {*ours} & {*others[1]}
    assert not {*ours} & {*others[2]}
