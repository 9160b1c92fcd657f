"""What the processes are told of mail, proxies and authorization servers, and what they refuse to start on."""

from pathlib import Path

import pytest

from commerce_api.cli.init import make_commerce_keys
from commerce_api.settings import CommerceSettings, SettingsRefused
from tests.commerce_api.world import World
from tests.mcp_server.oauth_site import SHOPPER, browser, oauth_site, program

PRODUCTION = {"CORDON_ENVIRONMENT": "production"}
SMTP = "smtps://shop:secret@mail.brand.example/shop@brand.example"


def read(data: Path, **environ: str) -> CommerceSettings:
    """Settings as a process reads them."""
    return CommerceSettings.read(
        data=data,
        database_url="postgresql://commerce@database/commerce",
        host="127.0.0.1",
        port=8704,
        public_url="https://shop.brand.example",
        mcp_url="https://mcp.brand.example",
        zone_url="https://zone:8702",
        capture_url="https://pay.brand.example",
        environ=environ,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A commerce data directory with everything in it."""
    make_commerce_keys(tmp_path)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "commerce.crt").touch()
    return tmp_path


def test_production_signs_nobody_in_until_it_can_send_mail(data: Path) -> None:
    assert read(data).can_mail
    assert not read(data, **PRODUCTION).can_mail
    (data / "keys" / "smtp.url").write_text(f"{SMTP}\n", encoding="utf-8")
    told = read(data, **PRODUCTION)
    assert told.can_mail
    assert "secret" not in repr(told)


@pytest.mark.parametrize(
    "value", ["", "http://mail.brand.example/shop@brand.example", "smtps://shop:secret@mail.brand.example"]
)
def test_a_mail_server_that_cannot_be_used_is_refused_and_not_repeated(data: Path, value: str) -> None:
    (data / "keys" / "smtp.url").write_text(value, encoding="utf-8")
    with pytest.raises(SettingsRefused) as refused:
        read(data)
    [problem] = refused.value.problems
    assert "smtp.url" in problem
    assert "secret" not in problem


def test_an_authorization_file_that_cannot_be_used_is_refused_at_the_start(data: Path) -> None:
    (data / "authorization.json").write_text('{"brands": {"x": {"external": {}}}}', encoding="utf-8")
    with pytest.raises(SettingsRefused) as refused:
        read(data)
    assert refused.value.problems == [
        "authorization.json: brands.x.external.issuer: missing",
        "authorization.json: brands.x.external.jwks_url: missing",
    ]
    (data / "authorization.json").write_text('{"loopback_client_documents": true}', encoding="utf-8")
    assert read(data).data == data
    with pytest.raises(SettingsRefused):
        read(data, **PRODUCTION)


@pytest.mark.anyio
@pytest.mark.parametrize(("trusted", "sent"), [("127.0.0.1", 4), ("", 3)])
async def test_limits_count_the_shopper_behind_a_trusted_proxy_and_nobodys_own_word(
    world: World, monkeypatch: pytest.MonkeyPatch, trusted: str, sent: int
) -> None:
    """Each shopper says to come from elsewhere: believed where the proxy says it, and worth nothing where anybody could."""
    from dataclasses import replace
    from ipaddress import ip_network

    monkeypatch.setattr("commerce_api.authorization.sign_in.PER_NETWORK_AN_HOUR", 3)
    proxies = tuple(ip_network(text) for text in trusted.split())
    world.commerce = replace(world.commerce, settings=replace(world.commerce.settings, trusted_proxies=proxies))
    async with oauth_site(world) as flow:
        client = await program(flow)
        for number in range(4):
            async with browser(flow) as shopper:
                shopper.http.headers["x-forwarded-for"] = f"198.51.100.{number}"
                await shopper.open(client.address())
                await shopper.send("email", email=f"{number}{SHOPPER}")
        assert len(flow.mailbox.letters) == sent
