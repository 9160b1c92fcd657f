"""Whose request it is: a header that anybody can write is believed from a trusted proxy alone, and from its end."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.requirement import requirement
from tokenization.addresses import network_of, origin_of
from vault_zone.settings import SettingsRefused, ZoneSettings

TRUSTED = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("2001:db8:1::/48"))


@requirement("2.2.6")
@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours: the header is the client's own words
        ("10.0.0.7", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.7", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),  # what stands before was the client's to write
        ("10.0.0.7", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),  # in two lines
        ("10.0.0.7", ["198.51.100.1, 10.0.0.8"], "198.51.100.1"),  # two of our proxies
        ("10.0.0.7", [], "10.0.0.7"),
        ("10.0.0.7", ["198.51.100.1, nonsense"], "10.0.0.7"),  # the nearest proxy did not write that
        ("10.0.0.7", ["10.0.0.8, 10.0.0.9"], "10.0.0.8"),
        ("::ffff:10.0.0.7", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::5", ["[2001:db8:2::9]"], "2001:db8:2::9"),
        ("2001:DB8:2:0::9", [], "2001:db8:2::9"),
        ("10.0.0.7", ["198.51.100.1, " + "10.0.0.8, " * 40 + "10.0.0.8"], "10.0.0.8"),
        (None, ["198.51.100.1"], "unknown"),
        ("/run/zone.sock", ["198.51.100.1"], "unknown"),
    ],
)
def test_the_clients_address(peer: str | None, forwarded: list[str], client: str) -> None:
    assert origin_of(peer, forwarded, TRUSTED) == client


@given(st.ip_addresses(), st.lists(st.text(max_size=60), max_size=5))
def test_without_a_trusted_proxy_no_header_changes_it(peer: object, forwarded: list[str]) -> None:
    assert origin_of(str(peer), forwarded, ()) == origin_of(str(peer), [], ())


@given(st.text(max_size=60), st.ip_addresses(v=4, network="198.51.100.0/24"))
def test_nothing_that_a_client_writes_hides_it_behind_a_trusted_proxy(claimed: str, client: object) -> None:
    assert origin_of("10.0.0.7", [f"{claimed}, {client}"], TRUSTED) == str(client)


def test_believing_the_first_address_would_be_found() -> None:
    forwarded = "192.0.2.66, 198.51.100.1"
    assert forwarded.split(",", maxsplit=1)[0] != origin_of("10.0.0.7", [forwarded], TRUSTED)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:2:3:aaaa::9", "2001:db8:2:3::/64"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("nonsense", "unknown"),
    ],
)
def test_what_a_client_is_counted_under(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "proxy.internal", "10.0.0.1/24", ""])
def test_a_trusted_proxy_that_is_everybody_or_no_address_is_refused(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        ZoneSettings.read(
            data=tmp_path_factory.mktemp("zone"),
            database_url=None,
            capture_host="127.0.0.1",
            capture_port=8701,
            capture_url=None,
            internal_host="127.0.0.1",
            internal_port=8702,
            processor_url="http://127.0.0.1:8703",
            charge_timeout_seconds=10,
            trusted_proxies=[text],
            environ={},
        )
    assert [problem for problem in refused.value.problems if problem.startswith("--trusted-proxy")]
