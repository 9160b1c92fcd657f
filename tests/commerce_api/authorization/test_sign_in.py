"""Codes by mail: how often they may be tried and asked for, and that nothing tells who has an account."""

import hmac
import ipaddress
import json
import re
import smtplib
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.authorization import grants, mail, sign_in
from commerce_api.authorization.keys import SigningKeys, rotate
from commerce_api.authorization.mail import Courier, Letter, Outbox, delivery_of
from commerce_api.models import (
    oauth_client,
    oauth_code,
    oauth_grant,
    oauth_refresh,
    oauth_request,
    shopper_account,
    sign_in_code,
)
from tests.commerce_api.world import World
from tests.mcp_server.oauth_site import SHOPPER, Browser, OAuthSite, browser, oauth_site, program, tokens_for

pytestmark = pytest.mark.anyio


async def begun(flow: OAuthSite, shopper: Browser, mailbox: str = SHOPPER) -> None:
    """A sign-in up to the page that asks for the code."""
    await shopper.open((await program(flow)).address())
    await shopper.send("email", email=mailbox)


def code_in(letter: Letter) -> str:
    """The code in a letter."""
    found = re.search(r"[A-Z]{4}-[A-Z]{4}", letter.text)
    assert found is not None
    return found.group()


def wrong(code: str) -> str:
    """Another code."""
    return ("C" if code[0] != "C" else "D") + code[1:]


async def test_a_code_may_be_typed_as_people_type(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        answer = await shopper.send("code", code=f"  {flow.mailbox.code.lower().replace('-', ' ')} ")
        assert "decision" in answer.text


async def test_a_code_can_be_tried_five_times(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        code = flow.mailbox.code
        for _ in range(sign_in.TRIES):
            assert (await shopper.send("code", code=wrong(code))).status_code == 422
        assert (await shopper.send("code", code=code)).status_code == 422
        assert await world.rows(shopper_account) == []
        assert len(await world.events("sign_in.refused")) == sign_in.TRIES


async def test_trying_on_leaves_no_trace_past_the_last_try_or_without_a_code(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        page = await shopper.open((await program(flow)).address())
        before = await world.events()
        for _ in range(3):
            assert (await shopper.http.post(f"{page.url}/code", data={"code": "BBBB-BBBB"})).status_code == 422
        assert await world.events() == before
        await shopper.send("email", email=SHOPPER)
        for _ in range(sign_in.TRIES):
            await shopper.send("code", code=wrong(flow.mailbox.code))
        before = await world.events()
        for typed in (flow.mailbox.code, wrong(flow.mailbox.code), ""):
            assert (await shopper.send("code", code=typed)).status_code == 422
        assert await world.events() == before
        assert [row.tries for row in await world.rows(sign_in_code)] == [sign_in.TRIES]


async def test_a_lapsed_codes_tries_are_counted_too(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        world.clock.advance(sign_in.LIFETIME_SECONDS)
        for _ in range(sign_in.TRIES + 3):
            await shopper.send("code", code=flow.mailbox.code)
        assert len(await world.events("sign_in.refused")) == sign_in.TRIES


async def test_the_last_try_counts(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        for _ in range(sign_in.TRIES - 1):
            await shopper.send("code", code=wrong(flow.mailbox.code))
        assert "decision" in (await shopper.send("code", code=flow.mailbox.code)).text


async def test_a_code_lasts_ten_minutes(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        world.clock.advance(sign_in.LIFETIME_SECONDS)
        assert (await shopper.send("code", code=flow.mailbox.code)).status_code == 422


async def test_a_new_code_takes_the_place_of_the_one_before(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        first = flow.mailbox.code
        assert shopper.page is not None
        await shopper.open(f"{shopper.page.url}?again")
        await shopper.send("email", email=SHOPPER)
        assert (await shopper.send("code", code=first)).status_code == 422
        assert "decision" in (await shopper.send("code", code=flow.mailbox.code)).text


async def test_a_code_is_for_the_request_that_it_was_sent_for(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as one, browser(flow) as other:
        await begun(flow, one)
        code = flow.mailbox.code
        await begun(flow, other)
        assert (await other.send("code", code=code)).status_code == 422


async def test_a_request_has_three_codes(world: World) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        assert shopper.page is not None
        address = str(shopper.page.url)
        statuses = []
        for number in range(3):
            await shopper.open(f"{address}?again")
            statuses.append((await shopper.send("email", email=f"kit{number}@shopper.example")).status_code)
    assert statuses == [200, 200, 429]
    assert len(flow.mailbox.letters) == sign_in.PER_REQUEST


async def asked(flow: OAuthSite, network: str, mailbox: str = SHOPPER) -> httpx.Response:
    """The page that a sign-in from a network comes to once a code was asked for."""
    async with browser(flow) as shopper:
        shopper.http.headers["x-forwarded-for"] = network
        await begun(flow, shopper, mailbox)
        assert shopper.page is not None
        return shopper.page


@pytest.fixture
def behind_a_proxy(world: World) -> World:
    """The world behind a proxy whose word on addresses counts."""
    trusted = (ipaddress.ip_network("127.0.0.1/32"),)
    world.commerce = replace(world.commerce, settings=replace(world.commerce.settings, trusted_proxies=trusted))
    return world


async def test_a_network_has_five_an_hour_sent_to_a_mailbox_and_the_page_says_what_it_always_says(
    behind_a_proxy: World,
) -> None:
    async with oauth_site(behind_a_proxy) as flow:
        pages = set()
        for _ in range(sign_in.PER_MAILBOX_OF_A_NETWORK_AN_HOUR + 2):
            page = await asked(flow, "192.0.2.1")
            pages.add(page.text.replace(page.url.path, ""))
        assert len(flow.mailbox.letters) == sign_in.PER_MAILBOX_OF_A_NETWORK_AN_HOUR == 5
        assert len(pages) == 1
        assert "Nothing after a few minutes? Try again in an hour." in pages.pop()
        await asked(flow, "192.0.2.1", "kit@shopper.example")
        await asked(flow, "192.0.2.2")  # the shopper, at home: what a stranger asked for is not in the way
        assert len(flow.mailbox.letters) == 7
        behind_a_proxy.clock.advance(3_600)
        await asked(flow, "192.0.2.1")
        assert len(flow.mailbox.letters) == 8


async def test_a_mailbox_is_sent_twenty_an_hour_whatever_the_network(behind_a_proxy: World) -> None:
    async with oauth_site(behind_a_proxy) as flow:
        for number in range(sign_in.PER_MAILBOX_AN_HOUR + 2):
            await asked(flow, f"192.0.2.{number % 6}")
        assert len(flow.mailbox.letters) == sign_in.PER_MAILBOX_AN_HOUR == 20


async def test_a_code_that_was_not_sent_is_tried_like_any_other_and_never_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not even right where it is known, and its tries are counted: nothing tells it from one that was sent."""
    monkeypatch.setattr(sign_in, "PER_MAILBOX_OF_A_NETWORK_AN_HOUR", 0)
    monkeypatch.setattr(sign_in, "secrets", SimpleNamespace(token_bytes=bytes))
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        assert (await shopper.send("code", code="BBBB-BBBB")).status_code == 422
        assert flow.mailbox.letters == []
        assert [row.tries for row in await world.rows(sign_in_code)] == [1]
        monkeypatch.setattr(sign_in, "PER_MAILBOX_OF_A_NETWORK_AN_HOUR", 5)
        await begun(flow, shopper)
        assert "decision" in (await shopper.send("code", code="BBBB-BBBB")).text


async def test_a_network_is_limited_however_many_mailboxes_it_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "PER_NETWORK_AN_HOUR", 3)
    async with oauth_site(world) as flow:
        for number in range(4):
            async with browser(flow) as shopper:
                await begun(flow, shopper, f"kit{number}@shopper.example")
        assert len(flow.mailbox.letters) == 3
        assert shopper.page is not None
        assert shopper.page.status_code == 429


async def test_nothing_tells_a_mailbox_with_an_account_from_one_without(world: World) -> None:
    async with oauth_site(world) as flow:
        await tokens_for(flow, await program(flow))  # SHOPPER has an account now
        seen = set()
        for mailbox in (SHOPPER, "nobody@shopper.example"):
            async with browser(flow) as shopper:
                await begun(flow, shopper, mailbox)
                assert shopper.page is not None
                page = shopper.page
                headers = tuple(sorted(name for name in page.headers if name != "date"))
                seen.add((page.status_code, page.text.replace(page.url.path, ""), headers))
        letters = {letter.text.replace(flow.mailbox.code, "") for letter in flow.mailbox.letters[-1:]}
    assert len(seen) == 1
    assert len(letters) == 1


async def test_comparing_takes_a_constant_time_comparison_even_where_there_is_no_code(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bool] = []
    real = hmac.compare_digest

    def counted(one: str, other: str) -> bool:
        compared.append(len(one) == len(other))
        return real(one, other)

    async with oauth_site(world) as flow, browser(flow) as shopper:
        page = await shopper.open((await program(flow)).address())
        monkeypatch.setattr("commerce_api.authorization.sign_in.hmac.compare_digest", counted)
        before = len(compared)
        await shopper.http.post(f"{page.url}/code", data={"code": "BBBB-BBBB"})
        assert compared[before:].count(True) >= 2  # the cookie's, and the code's


async def test_planted_fault_without_counting_tries_a_code_can_be_guessed_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "TRIES", 10**9)
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await begun(flow, shopper)
        for _ in range(6):
            await shopper.send("code", code=wrong(flow.mailbox.code))
        assert "decision" in (await shopper.send("code", code=flow.mailbox.code)).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b.example",
        "a@b",
        "a b@c.example",
        "a@b.example\nbcc: x@y.example",
        "a@b..example",
        "<a@b.example>",
        "a@é.example",
        "é@b.example",
        "a@b.example" * 30,
        "=?utf-8?q??=@x.com",
        "a=?b@x.com",
    ],
)
async def test_what_is_no_mailbox_gets_no_letter(world: World, text: str) -> None:
    async with oauth_site(world) as flow, browser(flow) as shopper:
        await shopper.open((await program(flow)).address())
        assert (await shopper.send("email", email=text)).status_code == 422
        assert flow.mailbox.letters == []


@given(st.text(max_size=80))
def test_a_mailbox_never_holds_what_ends_a_header(text: str) -> None:
    found = sign_in.mailbox_in(f"{text}@shop.example")
    assert found is None or found.isprintable()
    assert sign_in.mailbox_in(" Robin@Shopper.Example ") == SHOPPER


async def test_a_letter_holds_no_word_of_who_asks(world: World) -> None:
    """Anybody may register under any name and type anybody's address: the brand's letter carries none of it."""
    async with oauth_site(world) as flow:
        for name in ("Acorn", "Your account is locked: call 0800-ROBBERY", "https://evil.example/login"):
            async with browser(flow) as shopper:
                await shopper.open((await program(flow, client_name=name)).address())
                await shopper.send("email", email=SHOPPER)
        texts = {letter.text.replace(code_in(letter), "") for letter in flow.mailbox.letters}
    assert len(flow.mailbox.letters) == 3
    assert {letter.to for letter in flow.mailbox.letters} == {SHOPPER}
    [text] = texts
    assert "Acorn" not in text
    assert "http" not in text  # nothing to click, so nothing to imitate
    assert "give the code to nobody" in text


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_a_mailbox_can_be_written_to(before: str, after: str) -> None:
    found = sign_in.mailbox_in(f"{before}=?{after}@shop.example")
    assert found is None
    found = sign_in.mailbox_in(f"{before}{after}@shop.example")
    if found is not None:
        assert mail._written(Letter(found, "Shop", "Your code", "text"), "shop@brand.example")["To"] == found


async def test_a_letter_that_the_library_cannot_write_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(smtplib, "SMTP_SSL", unreachable)
    letter = Letter("=?utf-8?q??=@x.com", "Shop", "Code", "text")
    with pytest.raises(IndexError):  # what the library makes of it
        EmailMessage()["To"] = letter.to
    delivery = mail.Smtp("smtps://mail.example/shop@brand.example")
    with pytest.raises(ValueError, match="not a letter"):
        delivery.send(letter)
    with structlog.testing.capture_logs() as logged:
        courier = Courier(delivery)
        courier.take(letter)
        await courier.close()
    assert [entry["event"] for entry in logged] == ["letter_not_sent"]


async def test_development_writes_letters_to_a_file_of_its_owners(world: World) -> None:
    settings = world.commerce.settings
    courier = Courier(delivery_of(settings))
    courier.take(Letter("a@b.example", "Shop", "Code", "text"))
    await courier.close()
    stored = settings.outbox
    assert json.loads(stored.read_text())["to"] == "a@b.example"
    assert stored.stat().st_mode & 0o077 == 0


async def test_a_letter_that_cannot_be_sent_disturbs_nobody() -> None:
    class Broken:
        def send(self, letter: Letter) -> None:
            raise smtplib.SMTPServerDisconnected

    courier = Courier(Broken())
    courier.take(Letter("a@b.example", "Shop", "Code", "text"))
    await courier.close()


def test_mail_is_never_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Server:
        def __init__(self, *_: object, **__: object) -> None:
            said.append("connected")

        def starttls(self, **_: object) -> None:
            raise smtplib.SMTPNotSupportedError

        def close(self) -> None:
            said.append("closed")

    monkeypatch.setattr(smtplib, "SMTP", Server)
    with pytest.raises(smtplib.SMTPNotSupportedError):
        mail.Smtp("smtp://u:p@mail.example/shop@brand.example").send(Letter("a@b.example", "Shop", "Code", "text"))
    assert said == ["connected", "closed"]
    assert "u:p" not in repr(mail.Smtp("smtp://u:p@mail.example/x"))
    assert isinstance(Outbox(Path("x")), Outbox)


async def test_what_is_past_its_time_is_forgotten(world: World) -> None:
    tables = (oauth_request, sign_in_code, oauth_code, oauth_refresh, oauth_grant, oauth_client, shopper_account)

    async def swept(seconds: int) -> set[str]:
        world.clock.advance(seconds)
        await world.commerce.database.maintain(grants.forget_old)
        return {table.name for table in tables if await world.rows(table)}

    async with oauth_site(world) as flow:
        await tokens_for(flow, await program(flow))
        async with browser(flow) as shopper:
            await begun(flow, shopper)
        everything = {table.name for table in tables}
        assert await swept(0) == everything
        kept = everything - {"oauth_request"}
        assert await swept(900 + grants.REQUEST_KEPT_SECONDS + 1) == kept
        kept -= {"sign_in_code"}
        assert await swept(grants.SIGN_IN_KEPT_SECONDS) == kept
        kept -= {"oauth_client", "oauth_refresh"}  # a refresh token that nobody used for thirty days
        assert await swept(90 * 86_400) == kept
        kept -= {"oauth_grant", "oauth_code"}
        assert await swept(grants.ENDED_KEPT_SECONDS) == kept == {"shopper_account"}
        assert await swept(grants.ACCOUNT_KEPT_SECONDS) == set()


def test_keys_are_files_of_their_owners_and_two_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "oauth"
    keys = SigningKeys(directory)
    assert not keys.is_there
    made = [rotate(directory) for _ in range(3)]
    assert [key["kid"] for key in keys.public()["keys"]] == made[:0:-1]
    assert keys.signing()[0] == made[-1]
    assert keys.find(made[0]) is None
    assert {path.stat().st_mode & 0o077 for path in directory.iterdir()} == {0}
    pepper = keys.pepper()
    rotate(directory, drop_previous=True)
    assert len(keys.public()["keys"]) == 1
    assert keys.pepper() == pepper  # accounts stay what they are


@pytest.mark.parametrize(
    ("scheme", "steps"),
    [("smtp", ["starttls", "login", "send", "quit"]), ("smtps", ["login", "send", "quit"])],
)
def test_a_letter_goes_out_behind_tls_and_from_the_brands_address(
    monkeypatch: pytest.MonkeyPatch, scheme: str, steps: list[str]
) -> None:
    said: list[str] = []
    sent: list[EmailMessage] = []

    class Server:
        def __init__(self, host: str, port: int, **_: object) -> None:
            assert (host, port) == ("mail.example", {"smtp": 587, "smtps": 465}[scheme])

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None:
            said.append("quit")

        def starttls(self, **_: object) -> None:
            said.append("starttls")

        def login(self, user: str, password: str) -> None:
            assert (user, password) == ("u@x", "p/w")
            said.append("login")

        def send_message(self, message: EmailMessage) -> None:
            said.append("send")
            sent.append(message)

    monkeypatch.setattr(smtplib, {"smtp": "SMTP", "smtps": "SMTP_SSL"}[scheme], Server)
    mail.Smtp(f"{scheme}://u%40x:p%2Fw@mail.example/shop@brand.example").send(
        Letter(SHOPPER, "Shop", "Your code", "BBBB-BBBB\n")
    )
    assert said == steps
    [message] = sent
    assert (message["To"], message["From"], message["Subject"]) == (SHOPPER, "shop@brand.example", "Your code")
    assert message.get_content() == "BBBB-BBBB\n"
