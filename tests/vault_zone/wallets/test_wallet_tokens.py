"""A wallet's decrypted token over the internal API: bound in every way it says, its cryptogram used once and kept nowhere."""

import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

import vault_zone.wallets.door
import vault_zone.wallets.payload
from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.callers import ask, zone_of
from tests.vault_zone.saving import sweeper_of
from tests.vault_zone.world import ACTOR, MERCHANT, START_MS, VISA, Crash, World, charge_request, zone_world
from tokenization.money import Money
from tokenization.wire import ChargeState
from vault_zone.card import Exposure
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import card_grant, card_record, metadata
from vault_zone.processors.port import Outcome
from vault_zone.roles import ROLES, Verb
from vault_zone.wallets.payload import _NUMERIC, WalletRefused, read_payload

pytestmark = pytest.mark.anyio
CRYPTOGRAM = "gXc5UCLnM6ckD7pjM1TdPA=="
PATH = f"/v1/merchants/{MERCHANT}/wallet-tokens"
WALLET_SERVER = "service:wallet-server"
APPLE: dict[str, Any] = {
    "applicationPrimaryAccountNumber": VISA,
    "applicationExpirationDate": "341231",
    "currencyCode": "840",
    "transactionAmount": 10_905,
    "cardholderName": "Robin Field",
    "deviceManufacturerIdentifier": "040010030273",
    "paymentDataType": "3DSecure",
    "paymentData": {"onlinePaymentCryptogram": CRYPTOGRAM, "eciIndicator": "5"},
}
GOOGLE: dict[str, Any] = {
    "gatewayMerchantId": "harbour-pine",
    "messageExpiration": str(START_MS + 300_000),
    "messageId": "AH2EjtfkyH",
    "paymentMethod": "CARD",
    "paymentMethodDetails": {
        "pan": VISA,
        "expirationMonth": 12,
        "expirationYear": 2034,
        "authMethod": "CRYPTOGRAM_3DS",
        "cryptogram": CRYPTOGRAM,
        "eciIndicator": "05",
        "assuranceDetails": {"accountVerified": True, "cardHolderAuthenticated": True},
    },
}
PAYLOADS = {"apple_pay": APPLE, "google_pay": GOOGLE}
ABSENT = object()


def altered(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The payload with other values; a name with ``__`` in it is one level down, ABSENT takes a field away."""
    made = copy.deepcopy(payload)
    for path, value in changes.items():
        *outer, name = path.split("__")
        place = made
        for step in outer:
            place = place[step]
        if value is ABSENT:
            del place[name]
        else:
            place[name] = value
    return made


PAN_ONLY = altered(
    GOOGLE,
    paymentMethodDetails__authMethod="PAN_ONLY",
    paymentMethodDetails__cryptogram=ABSENT,
    paymentMethodDetails__eciIndicator=ABSENT,
)


def request_of(wallet: str, payment: object = None, **other: Any) -> dict[str, Any]:
    """The body of a request, for the checkout of charge_request()."""
    asked = {"wallet": wallet, "checkout": "chk_a", "amount_minor": 10_905, "currency": "USD"}
    return {**asked, "payment": PAYLOADS[wallet] if payment is None else payment, **other}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def handed_over(world: World, body: object, caller: str = WALLET_SERVER, path: str = PATH) -> httpx.Response:
    return await ask(zone_of(world), caller, "POST", path, body)


async def grant_of(world: World, wallet: str = "apple_pay", payment: object = None, **other: Any) -> str:
    answer = await handed_over(world, request_of(wallet, payment, **other))
    assert answer.status_code == 201, answer.text
    grant: str = answer.json()["grant"]
    return grant


async def on_disk(world: World) -> str:
    """Everything that any table holds."""
    rows: list[object] = []
    for table in metadata.sorted_tables:
        rows += await world.database.read(lambda c, table=table: list(c.execute(select(table)).all()))  # type: ignore[misc]
    return str(rows)


async def refused_charge(world: World, grant: str, **wrong: object) -> ZoneError:
    with pytest.raises(ZoneRefusal) as refused:
        await world.engine.charge(charge_request(grant, **wrong), ACTOR)
    return refused.value.kind


# Taken, and charged once.


@requirement("3.3.1")
@pytest.mark.parametrize("wallet", PAYLOADS)
async def test_a_network_token_is_charged_once_with_its_cryptogram_which_is_on_no_disk(
    world: World, wallet: str
) -> None:
    answer = await handed_over(world, request_of(wallet))
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["kind"], told["card"]) == ("network_token", {"brand": "visa", "last4": "4242"})
    for secret in (CRYPTOGRAM, VISA, "Robin"):
        assert secret not in answer.text
        assert secret not in await on_disk(world)
    record = await world.database.read(lambda c: c.execute(select(card_record)).one())
    assert (record.kind, record.source, record.fingerprint, record.shopper) == ("network_token", "wallet", None, None)
    charged = await world.engine.charge(charge_request(told["grant"]), ACTOR)
    assert charged.state is ChargeState.SUCCEEDED
    assert world.processor.seen[0][2:] == (VISA, None)
    assert [value for value, _ in world.processor.cryptograms] == [CRYPTOGRAM]
    assert await refused_charge(world, told["grant"]) is ZoneError.GRANT_NOT_USABLE
    assert world.codes.take(told["grant"]) is None
    assert CRYPTOGRAM not in await on_disk(world)


async def test_a_cards_own_number_from_a_wallet_is_a_card_without_a_code(world: World) -> None:
    answer = await handed_over(world, request_of("google_pay", PAN_ONLY))
    assert answer.json()["kind"] == "card"
    await world.engine.charge(charge_request(answer.json()["grant"]), ACTOR)
    assert world.processor.seen[0][2:] == (VISA, None)
    assert world.processor.cryptograms == []


# Worth nothing outside its binding.

BINDINGS: dict[str, dict[str, object]] = {
    "another merchant": {"merchant": "other-shop"},
    "another checkout": {"checkout": "chk_b"},
    "another currency": {"currency": "EUR"},
    "one minor unit more": {"amount_minor": 10_906},
}


@pytest.mark.parametrize("attack", BINDINGS)
async def test_outside_its_binding_the_grant_is_worth_nothing(world: World, attack: str) -> None:
    grant = await grant_of(world)
    assert await refused_charge(world, grant, **BINDINGS[attack]) is ZoneError.GRANT_NOT_USABLE
    assert world.processor.calls == 0
    await world.engine.charge(charge_request(grant), ACTOR)
    assert world.processor.cryptograms == [(CRYPTOGRAM, "5")], "an attack uses nothing up"


async def test_it_ends_when_it_was_asked_to_and_when_the_wallet_says_whichever_is_first(world: World) -> None:
    asked = await handed_over(world, request_of("apple_pay", lifetime_seconds=60))
    said = await handed_over(world, request_of("google_pay", checkout="chk_b"))
    assert asked.json()["expires_ms"] == START_MS + 60_000
    assert said.json()["expires_ms"] == START_MS + 300_000
    assert (await handed_over(world, request_of("apple_pay", lifetime_seconds=601))).status_code == 422
    world.clock.advance(60)
    assert await refused_charge(world, asked.json()["grant"]) is ZoneError.GRANT_NOT_USABLE
    world.clock.advance(240)
    assert await refused_charge(world, said.json()["grant"], checkout="chk_b") is ZoneError.GRANT_NOT_USABLE
    await sweeper_of(world).sweep()
    assert await world.database.read(lambda c: c.execute(select(card_record)).all()) == []


# The cryptogram: one use, and gone whatever comes of it.


async def expire(world: World, grant: str) -> World:
    world.clock.advance(600)
    world.codes.forget_expired()
    return world


async def decline(world: World, grant: str) -> World:
    world.processor.outcome = Outcome.DECLINED
    await world.engine.charge(charge_request(grant), ACTOR)
    return world


async def authorise(world: World, grant: str) -> World:
    await world.engine.charge(charge_request(grant), ACTOR)
    return world


async def lose_the_answer(world: World, grant: str) -> World:
    world.processor.lose_request = True
    await world.engine.charge(charge_request(grant), ACTOR)
    return world


async def revoke(world: World, grant: str) -> World:
    path = f"/v1/merchants/{MERCHANT}/grants/{grant}/revoke"
    assert (await ask(zone_of(world), ACTOR, "POST", path)).status_code == 200
    return world


async def crash(world: World, grant: str) -> World:
    del grant
    return world.restart()


ENDS: tuple[Callable[[World, str], Any], ...] = (authorise, decline, lose_the_answer, expire, revoke, crash)


@requirement("3.3.1", "3.3.2")
@pytest.mark.parametrize("end", ENDS)
async def test_after_authorization_decline_loss_expiry_revocation_or_a_crash_no_cryptogram_is_left(
    world: World, end: Callable[[World, str], Any]
) -> None:
    grant = await grant_of(world)
    after = await end(world, grant)
    assert after.codes.take(grant) is None
    assert CRYPTOGRAM not in await on_disk(world)


async def test_a_grant_whose_cryptogram_is_gone_is_not_charged_without(world: World) -> None:
    restarted = world.restart()
    grant = await grant_of(world)
    assert await refused_charge(restarted, grant) is ZoneError.SECURITY_CODE_GONE
    assert restarted.processor.calls == 0


async def test_a_crash_before_the_commit_leaves_nothing_and_one_after_it_nothing_to_charge_with(tmp_path: Path) -> None:
    for persisted, rows in ((False, 0), (True, 1)):
        async with zone_world(f"sqlite:///{tmp_path / f'{persisted}.sqlite3'}") as world:
            await grant_of(world, checkout="chk_warm")  # its keys are made
            await world.database.maintain(
                lambda tx: (tx.execute(card_grant.delete()), tx.execute(card_record.delete()))
            )
            world.database.crash_at, world.database.persisted = world.database.changes + 1, persisted
            with pytest.raises(Crash):
                await handed_over(world, request_of("apple_pay"))
            found = await world.database.read(lambda c: c.execute(select(card_grant.c.id)).scalars().all())
            assert len(found) == rows
            for grant in found:
                assert await refused_charge(world.restart(), grant) is ZoneError.SECURITY_CODE_GONE


# What is not taken.

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "number with a mistake": ("apple_pay", {"applicationPrimaryAccountNumber": VISA[:-1] + "1"}, "failed_check"),
    "no cryptogram": ("apple_pay", {"paymentData": {}}, "onlinePaymentCryptogram: missing"),
    "chip data": ("apple_pay", {"paymentDataType": "EMV"}, "paymentDataType: literal_error"),
    "more than a cryptogram": ("apple_pay", {"paymentData__emvData": "x"}, "paymentData: not_of_3d_secure"),
    "a security code": ("apple_pay", {"cvc": "737"}, "cvc: not_with_a_network_token"),
    "date of another form": ("apple_pay", {"applicationExpirationDate": "12/34"}, "not_yymmdd"),
    "date that is past": ("apple_pay", {"applicationExpirationDate": "200131"}, "past"),
    "agreed to in euros": ("apple_pay", {"currencyCode": "978"}, "currencyCode: another_currency"),
    "agreed to a cent less": ("apple_pay", {"transactionAmount": 10_904}, "transactionAmount: less_than_amount_minor"),
    "a field of nobody's": ("apple_pay", {"secret_4242424242424242": "x"}, "extra_forbidden"),
    "an expired message": ("google_pay", {"messageExpiration": str(START_MS)}, "messageExpiration: past"),
    "a message without end": ("google_pay", {"messageExpiration": ABSENT}, "messageExpiration: missing"),
    "a token without cryptogram": ("google_pay", {"paymentMethodDetails__cryptogram": ABSENT}, "cryptogram: missing"),
    "a number with cryptogram": (
        "google_pay",
        {"paymentMethodDetails__authMethod": "PAN_ONLY"},
        "cryptogram: not_with_a_card_number",
    ),
    "a number with security code": (
        "google_pay",
        {
            "paymentMethodDetails__authMethod": "PAN_ONLY",
            "paymentMethodDetails__cryptogram": ABSENT,
            "paymentMethodDetails__cvc": "737",
        },
        "cvc: not_of_a_wallet",
    ),
    "no details": ("google_pay", {"paymentMethodDetails": "x"}, "expirationMonth: missing"),
    "another payload's fields": ("google_pay", APPLE, "extra_forbidden"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_of_its_wallet_is_refused_by_field_and_rule_and_nothing_is_kept(
    world: World, case: str
) -> None:
    wallet, changes, rule = REFUSED[case]
    answer = await handed_over(world, request_of(wallet, altered(PAYLOADS[wallet], **changes)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wallet_token_refused"), answer.text
    assert rule in answer.json()["broken"][0]
    for sent in (VISA, "4242", CRYPTOGRAM, "Robin", "737"):
        assert sent not in answer.text
    assert await world.database.read(lambda c: c.execute(select(card_grant)).all()) == []


async def test_without_its_check_of_the_currency_another_one_would_be_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault of the case above."""
    monkeypatch.setattr(vault_zone.wallets.payload, "_NUMERIC", dict.fromkeys(_NUMERIC, "978"))
    answer = await handed_over(world, request_of("apple_pay", altered(APPLE, currencyCode="978")))
    assert answer.status_code == 201


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**13), 10**13) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(
    wallet=st.sampled_from(sorted(PAYLOADS)), name=st.sampled_from([*APPLE, *GOOGLE]), value=JSON, deep=st.booleans()
)
def test_whatever_stands_in_a_field_is_taken_or_refused_by_name(
    wallet: str, name: str, value: object, deep: bool
) -> None:
    payload = copy.deepcopy(PAYLOADS[wallet])
    inner = payload["paymentData"] if wallet == "apple_pay" else payload["paymentMethodDetails"]
    (inner if deep else payload)[name] = value
    told = ""
    try:
        taken = read_payload(wallet, payload, Money(10_905, "USD"), START_MS)
    except WalletRefused as refused:
        told = str(refused.broken) + str(refused)
    assert VISA not in told
    if told:
        return
    assert taken.sent.card.pan.expose(Exposure.SEAL)
    assert VISA not in json.dumps(payload), "the card has left the parsed body"


# Who may, and by which door.


async def test_no_role_but_the_wallet_servers_hands_over_a_card_and_it_does_nothing_else(world: World) -> None:
    assert [name for name, role in ROLES.items() if Verb.HAND_OVER_CARD in role.verbs] == ["wallet_server"]
    for caller in (ACTOR, "service:monitor", "operator:key-manager"):
        assert (await handed_over(world, request_of("apple_pay"), caller)).status_code == 403
    grant = await grant_of(world)
    charged = await ask(
        zone_of(world), WALLET_SERVER, "POST", "/v1/charges", charge_request(grant).model_dump(mode="json")
    )
    assert charged.status_code == 403


async def test_who_may_not_is_refused_before_anything_of_the_body_is_parsed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("vault_zone.wallets.api.parse_json", never)
    assert (await handed_over(world, request_of("apple_pay"), ACTOR)).status_code == 403
    answer = await handed_over(world, request_of("apple_pay"))
    assert answer.status_code == 500, "and who may is read"


OTHER_DOORS = [
    ("POST", "/v1/charges"),
    ("POST", "/v1/capture-sessions"),
    ("PUT", PATH),
    ("POST", f"{PATH}/"),
    ("POST", f"{PATH}/more"),
    ("POST", f"/v1/{PATH}"),
    ("POST", f"{PATH}?card=1"),
    ("POST", f"/v1/merchants/{VISA}/wallet-tokens"),
]


@requirement("6.2.4")
@pytest.mark.parametrize(("method", "path"), OTHER_DOORS)
async def test_by_every_other_way_the_same_body_meets_the_guard(world: World, method: str, path: str) -> None:
    answer = await ask(zone_of(world), WALLET_SERVER, method, path, request_of("apple_pay"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "card_text_refused")


async def test_a_door_that_were_wider_would_be_seen_by_the_same_check(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault."""
    monkeypatch.setattr(vault_zone.wallets.door, "_is_for_a_card", lambda _: True)
    answer = await ask(zone_of(world), WALLET_SERVER, "POST", "/v1/charges", request_of("apple_pay"))
    assert answer.json()["error"]["code"] != "card_text_refused"


async def test_the_record_names_who_handed_over_and_nothing_of_the_card(world: World) -> None:
    await grant_of(world)
    entries = await world.database.read(lambda c: c.execute(select(audit_event)).all())
    kinds = [row.type for row in entries]
    assert {"token.created", "grant.created"} <= set(kinds)
    assert WALLET_SERVER in str(entries)
    for secret in (VISA, CRYPTOGRAM, "Robin"):
        assert secret not in str(entries)
