"""Addresses: only public web pages by host name."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.catalogue.feed_rows import Refusal
from commerce_api.catalogue.feed_url import readings, safe_url


@pytest.mark.parametrize(
    "url",
    [
        "https://brand.example/p/1",
        "http://brand.example:8080/a?b=c&d=%20#e",
        "HTTPS://Brand.Example/",
        "https://brand.example./p",
        "https://münchen.example/straße",
        "https://灯.example/",
        "https://xn--mnchen-3ya.example",
        "https://my_shop.brand.co.uk/",
        "https://localhost.example/",
    ],
)
def test_a_public_address_is_kept_as_written(url: str) -> None:
    assert safe_url(f" {url} ", "link") == url


def test_no_address_is_none() -> None:
    assert safe_url("  ", "link") is None


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "data:text/html,<script>", "file:///etc/passwd", "ftp://brand.example/",
        "//brand.example/", "brand.example/p", "https:///p", "https://", "http:brand.example",
        "http://169.254.169.254/latest/meta-data", "http://127.0.0.1/", "http://127.1/", "http://2852039166/", "http://0/",
        "http://0xA9FEA9FE/", "http://0xa9.0xfe.0xa9.0xfe/", "http://0251.0376.0251.0376/", "http://10.0.0.5:80/",
        "http://１６９.２５４.169.254/", "http://169。254。169。254/", "http://[::1]/", "http://[::ffff:169.254.169.254]/",
        "http://[fd00::1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://8.8.8.8/", "http://127.0.0.1./",
        "http://localhost/", "http://LOCALHOST:8000/", "http://a.localhost/", "http://printer.local/", "http://intranet/",
        "http://metadata.google.internal/", "http://router.lan/", "http://nas.home.arpa/", "http://1.in-addr.arpa/",
        "https://user@brand.example/", "https://brand.example@169.254.169.254/", "https://brand.example\\@evil.example/",
        "https://brand.example/a b", "https://brand.example/\nx", "https://brand.example/\u202e",
        "https://brand.example/\u200b",
        'https://brand.example/"onload=x', "https://brand.example/<script>", "https://brand.example:99999/",
        "https://brand.example:0/", "https://brand.example:x/", "http://[", "http://[::1", "https://-brand-.example/",
        "https://brand..example/", "https://" + "a" * 64 + ".example/", "https://brand.example/" + "x" * 2_000,
        "https://\ud800.example/", "https://brand.example/\ud800",
    ],
)  # fmt: skip
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(Refusal) as raised:
        safe_url(url, "link")
    assert raised.value.code.value == "url_unsafe"


@given(st.ip_addresses(), st.sampled_from(["", ".", ":80"]))
def test_no_spelling_of_an_ip_address_is_taken(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, tail: str
) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    spellings = [host] if address.version == 6 else [host, str(int(address)), hex(int(address)), f"0{int(address):o}"]
    for spelling in spellings:
        with pytest.raises(Refusal):
            safe_url(f"http://{spelling}{tail}/", "link")


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    for url in (text, f"https://{text}/", f"https://brand.example/{text}"):
        try:
            taken = safe_url(url, "link")
        except Refusal:
            continue
        assert taken is None or taken.lower().startswith(("http://", "https://"))


def test_an_address_is_also_read_without_its_percent_encoding() -> None:
    assert readings("https://brand.example/%34%32") == ("https://brand.example/%34%32", "https://brand.example/42")
    assert readings("https://brand.example/") == ("https://brand.example/",)
