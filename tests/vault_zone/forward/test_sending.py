"""A destination with any manners gets one request over verified TLS, and what it did is told apart rightly."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.requirement import requirement
from tests.vault_zone.forward.destination import Seen, destination, http
from tests.vault_zone.forward.test_scrubbing import base64_of
from tests.vault_zone.forward.world import ForwardWorld, entry, forward_world
from tests.vault_zone.world import VISA
from tokenization.wire_forward import ForwardState
from vault_zone.forward.sending import ANSWER_BYTES_MAXIMUM, Delivery, Outgoing, Sender, is_public

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ForwardWorld]:
    """A zone with a destination."""
    async with forward_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}", tmp_path) as made:
        yield made


async def redirects(_: Seen) -> bytes:
    return http(b'{"id": "ch"}', "307 Temporary Redirect", location="https://localhost:1/elsewhere")


async def is_slow(_: Seen) -> bytes:
    await asyncio.Event().wait()
    return b""


async def drips(_: Seen) -> bytes:
    return http(b"x" * 100)[:-50] + b""  # promises more than it sends, then closes


async def is_huge(_: Seen) -> bytes:
    return http(b'{"id": "' + b"x" * ANSWER_BYTES_MAXIMUM + b'"}')


async def is_garbage(_: Seen) -> bytes:
    return b"\x00\x01 not HTTP at all\r\n\r\n"


async def is_old_garbage(_: Seen) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n<<<" + VISA.encode()


async def compresses(_: Seen) -> bytes:
    return http(b"\x1f\x8b\x08", content_encoding="gzip")


async def says_nothing(_: Seen) -> bytes:
    return b""


async def splits_headers(_: Seen) -> bytes:
    return b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\tfolded\r\nbad header\r\n\r\n{}"


async def echoes_body(seen: Seen) -> bytes:
    return http(seen.body)


async def echoes_in_header(seen: Seen) -> bytes:
    return http(b'{"id": "ch"}', x_echo=json.loads(seen.body)["source"]["number"])


async def echoes_in_status(seen: Seen) -> bytes:
    return http(b'{"id": "ch"}', f"200 {json.loads(seen.body)['source']['number']}")


async def echoes_in_base64(seen: Seen) -> bytes:
    return http(json.dumps({"id": base64_of(json.loads(seen.body)["source"]["number"])}).encode())


async def echoes_split(seen: Seen) -> bytes:
    number = json.loads(seen.body)["source"]["number"]
    return http(json.dumps({"id": number[:8], "status": number[8:]}).encode())


async def echoes_code(seen: Seen) -> bytes:
    return http(json.dumps({"id": "ch_abc", "status": json.loads(seen.body)["source"]["code"]}).encode())


async def has_a_bad_day(_: Seen) -> bytes:
    return http(b'{"status": "declined", "other": "x"}', "402 Payment Required")


BEHAVIOURS: list[tuple[Callable[[Seen], Awaitable[bytes]], ForwardState, int | None, dict[str, Any], str | None]] = [
    (redirects, ForwardState.ANSWERED, 307, {"/id": "ch"}, None),
    (is_slow, ForwardState.UNKNOWN, None, {}, "timed_out"),
    (drips, ForwardState.UNKNOWN, None, {}, "broken_off"),
    (is_huge, ForwardState.ANSWERED, 200, {}, "too_long"),
    (is_garbage, ForwardState.UNKNOWN, None, {}, "broken_off"),
    (is_old_garbage, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (compresses, ForwardState.ANSWERED, 200, {}, "encoded"),
    (says_nothing, ForwardState.UNKNOWN, None, {}, "broken_off"),
    (splits_headers, ForwardState.UNKNOWN, None, {}, "broken_off"),
    (echoes_body, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (echoes_in_header, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (echoes_in_status, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (echoes_in_base64, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (echoes_split, ForwardState.ANSWERED, 200, {}, "card_echoed"),
    (echoes_code, ForwardState.ANSWERED, 200, {"/id": "ch_abc"}, None),
    (has_a_bad_day, ForwardState.ANSWERED, 402, {"/status": "declined"}, None),
]


@requirement("1.3.2", "6.2.4")
@pytest.mark.parametrize(("manners", "state", "status", "fields", "reason"), BEHAVIOURS)
async def test_whatever_the_destination_does_it_is_asked_once_and_told_apart(
    world: ForwardWorld,
    manners: Callable[[Seen], Awaitable[bytes]],
    state: ForwardState,
    status: int | None,
    fields: dict[str, Any],
    reason: str | None,
) -> None:
    world.there.answer = manners
    answer = await world.forwarded()
    assert (answer.state, answer.status, answer.fields, answer.reason) == (state, status, fields, reason)
    assert world.there.connections == 1
    assert VISA not in answer.model_dump_json()


@requirement("4.2.1.1")
async def test_a_certificate_of_another_authority_gets_nothing(world: ForwardWorld, tmp_path: Path) -> None:

    async with destination(tmp_path / "impostor") as impostor:
        world.publish(entry(impostor.port))
        answer = await world.forwarded()
    assert (answer.state, answer.reason) == (ForwardState.FAILED, "not_connected")
    assert not impostor.seen


@requirement("4.2.1")
async def test_a_certificate_for_another_name_gets_nothing(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'zone.sqlite3'}"
    async with forward_world(database, tmp_path, hosts=("elsewhere.example",)) as world:
        answer = await world.forwarded()
        assert (answer.state, answer.reason) == (ForwardState.FAILED, "not_connected")
        assert not world.there.seen


async def test_without_a_pinned_authority_the_systems_own_decide(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, ca_file=None))
    assert (await world.forwarded()).state is ForwardState.FAILED
    assert not world.there.seen


async def test_an_authority_that_is_not_there_stops_the_request(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, ca_file="absent.crt"))
    answer = await world.forwarded()
    assert (answer.state, answer.reason) == (ForwardState.FAILED, "authority_unreadable")


@requirement("1.3.2")
@pytest.mark.parametrize(
    "inside", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"]]
)
async def test_in_production_a_name_that_points_inside_is_not_followed(world: ForwardWorld, inside: list[str]) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        return inside

    world.only_public, world.resolve = True, resolve
    world.engine = world.make_engine()
    answer = await world.forwarded()
    assert (answer.state, answer.reason) == (ForwardState.FAILED, "address_refused")
    assert world.there.connections == 0


async def test_the_connection_goes_to_the_address_that_was_looked_at(world: ForwardWorld) -> None:
    """A name is resolved once; what it points to a moment later has no say."""
    asked: list[str] = []

    async def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    world.resolve = resolve
    world.engine = world.make_engine()
    assert (await world.forwarded()).state is ForwardState.ANSWERED
    assert asked == ["localhost"]


async def test_a_name_without_an_address_is_never_sent(world: ForwardWorld) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        raise OSError

    world.resolve = resolve
    world.engine = world.make_engine()
    answer = await world.forwarded()
    assert (answer.state, answer.reason) == (ForwardState.FAILED, "name_not_resolved")


async def test_a_proxy_of_the_environment_is_not_used(world: ForwardWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await world.forwarded()).state is ForwardState.ANSWERED


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("127.0.0.2", False),
        ("0.0.0.0", False),  # nosec B104  # an address to be refused
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses_are_those_of_the_internet_at_large(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_nothing_that_holds_a_filled_request_shows_it() -> None:
    shown = repr(Outgoing("/v1", (("authorization", "Bearer sk_test_bcdfghjk"),), VISA.encode()))
    assert VISA not in shown
    assert "sk_test" not in shown


async def test_a_reply_is_not_shown_before_it_is_scrubbed(world: ForwardWorld) -> None:
    world.there.answer = echoes_body
    listed = world.engine._listed.read()[0]  # the list that the engine reads
    sender = Sender(world.directory, only_public=False)
    body = json.dumps({"source": {"number": VISA}}).encode()
    reply = await sender.send(listed.destinations[0], Outgoing("/v1/payments", (), body))
    assert reply.delivery is Delivery.ANSWERED
    assert VISA.encode() in (reply.body or b"")
    assert VISA not in repr(reply)
