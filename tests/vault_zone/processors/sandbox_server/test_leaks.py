"""Nothing the sandbox keeps, says or logs holds a card number or a CVC, in any of the forms in which one may hide."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vault_zone.card_strategies import with_check_digit
from tests.vault_zone.processors.sandbox_server.world import World, charge, charge_body
from vault_zone.processors.sandbox_server.cards import PUBLISHED_CARDS, Behaviour

pytestmark = pytest.mark.anyio

PROMPT = [card.number for card in PUBLISHED_CARDS if "timeout" not in card.behaviour]
UNPUBLISHED = with_check_digit("453957876362148")  # passes Luhn; made here, published by nobody
CVC = "7391"
AMEX = "378282246310005"


def forms(number: str) -> Iterator[bytes]:
    """The number as digits, grouped, in bytes, in base64, and its plain hashes."""
    groups = [number[start : start + 4] for start in range(0, len(number), 4)]
    for text in (number, " ".join(groups), "-".join(groups), number[::-1]):
        yield text.encode()
        yield text.encode("utf-16-le")
    for offset in range(3):  # base64 at each alignment, without the edges that depend on the neighbours
        yield base64.b64encode(b"\0" * offset + number.encode())[4:-4]
    yield int(number).to_bytes(8, "big")
    yield int(number).to_bytes(8, "little")
    yield bytes.fromhex(number.zfill(20))
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, number.encode(), usedforsecurity=False)
        yield digest.digest()
        yield digest.hexdigest().encode()


def leaks(haystacks: dict[str, bytes], numbers: list[str]) -> list[str]:
    """Where any of the numbers stands in any form."""
    return [name for name, data in haystacks.items() for number in numbers if any(f in data for f in forms(number))]


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_no_file_and_no_log_line_holds_a_number_that_was_charged_or_refused(world: World) -> None:
    world.gate.open()
    async with world.client() as client:
        for number in PROMPT:
            made = await charge(client, key=number, number=number, reference=f"chg_{number[-4:]}")
            if made.json()["status"] == "requires_action":
                await client.post(made.json()["action"]["url"], data={"outcome": "approve"})
        await charge(client, key="refused", number=UNPUBLISHED)
        await client.post("/v1/charges", content=UNPUBLISHED, headers={"Idempotency-Key": UNPUBLISHED})
        await client.get(f"/v1/charges/{UNPUBLISHED}")
        await client.get("/v1/charges", params={"reference": UNPUBLISHED})
        await client.get(f"/{UNPUBLISHED}")
        await client.post(f"/acs/{UNPUBLISHED}", content=UNPUBLISHED)
    await world.courier.deliver_due()
    assert world.count() == len(PROMPT)
    events = {f"event {n}": request.content for n, request in enumerate(world.receiver.requests)}
    places = {**files(world.data), **events, "log": world.log.getvalue().encode()}
    assert {"sandbox.sqlite3", "sandbox.sqlite3-wal", "fingerprint.key", "log", "event 0"} <= places.keys()
    assert leaks(places, [*PROMPT, UNPUBLISHED]) == []


async def test_the_search_finds_what_is_there(world: World) -> None:
    """The planted fault: each form of a number, put into a file of the store, is found."""
    async with world.client() as client:
        await charge(client)
    for form in forms(AMEX):
        (world.data / "planted").write_bytes(b"before" + form + b"after")
        assert leaks(files(world.data), [AMEX]) == ["planted"]


async def test_the_search_finds_a_number_that_the_store_was_made_to_keep(world: World) -> None:
    world.store._database.execute("CREATE TABLE notes (text)")
    world.store._database.execute("INSERT INTO notes VALUES (?)", (AMEX,))
    assert leaks(files(world.data), [AMEX]) != []


async def test_no_answer_holds_the_number_or_the_cvc_it_was_sent(world: World) -> None:
    world.gate.open()
    answers = {}
    async with world.client() as client:
        for card in PUBLISHED_CARDS:
            if card.behaviour in {Behaviour.TIMEOUT_BEFORE, Behaviour.TIMEOUT_AFTER}:
                continue
            made = await charge(client, key=card.number, number=card.number, card={"cvc": CVC})
            again = await charge(client, key=card.number, number=card.number, amount_minor=1)
            shown = await client.get(f"/v1/charges/{made.json()['id']}")
            answers[card.title] = made.content + again.content + shown.content
        listed = await client.get("/sandbox/charges")
    assert leaks({**answers, "list": listed.content}, PROMPT) == []
    assert all(CVC.encode() not in content for content in answers.values())


def bodies_around(number: str) -> st.SearchStrategy[Any]:
    """Charges with the number in any one place where it does not belong, as a value, inside one, or as a key."""
    grouped = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
    values = st.sampled_from([number, f"x{number}y", grouped, int(number), [number], {number: number}, float(number)])
    fields = st.sampled_from([*charge_body(), "card.number", "card.cvc", "card.exp_year", "card.name", number])
    return st.builds(_replaced, fields, values)


def _replaced(field: str, value: object) -> dict[str, Any]:
    body = charge_body()
    if field.startswith("card."):
        body["card"] = {**body["card"], field.removeprefix("card."): value}
    else:
        body[field] = value
    return body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies_around(UNPUBLISHED), cut=st.integers(min_value=0, max_value=3))
async def test_no_refusal_repeats_what_was_refused(world: World, body: dict[str, Any], cut: int) -> None:
    text = json.dumps(body)
    async with world.client() as client:
        answer = await client.post("/v1/charges", content=text[: len(text) - cut], headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422
    headers = repr(answer.headers.raw).encode()
    places = {"body": answer.content, "headers": headers, "log": world.log.getvalue().encode(), **files(world.data)}
    assert leaks(places, [UNPUBLISHED]) == []
    assert world.count() == 0


async def test_the_published_numbers_stand_on_the_index_page_and_on_no_other(world: World) -> None:
    async with world.client() as client:
        url = (await charge(client, number="4000002760003184")).json()["action"]["url"]
        pages = {path: (await client.get(path)).content for path in ("/", url, "/acs/unknown")}
    assert set(leaks(pages, PROMPT)) == {"/"}
