"""The sandbox's connector against the sandbox itself, on real connections: the whole of the port."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault_zone.processors.sandbox_server.world import (
    API_KEY,
    CHALLENGE,
    DISPUTED,
    FAILING_REFUND,
    LATE_REFUND,
    TIMEOUT_BEFORE,
    VISA,
    WEBHOOK_SECRET,
    World,
    served,
)
from tests.vault_zone.processors.test_sandbox import REFUND_NEWS, signed
from tests.vault_zone.world import a_card, usd
from tokenization.wire import DisputeState, Initiator, ModificationKind
from vault_zone.processors.port import (
    DisputeNews,
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
    WebhookRefused,
)
from vault_zone.processors.sandbox import SandboxProcessor, _read_modification_answer, _read_modification_list
from vault_zone.processors.sandbox_server.cards import DeclineCode

pytestmark = pytest.mark.anyio

CAPTURE, VOID, REFUND = ModificationKind.CAPTURE, ModificationKind.VOID, ModificationKind.REFUND


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Pair:
    """A sandbox and its connector."""

    def __init__(self, world: World, processor: SandboxProcessor, client: httpx.AsyncClient) -> None:
        self.world = world
        self.processor = processor
        self.client = client

    async def charge(self, reference: str = "chg_a", number: str = VISA, **changes: Any) -> ProcessorAnswer:
        asked = ProcessorCharge(reference, "shop", usd(10_00), a_card(number), None, "https://shop.example/", **changes)
        return await self.processor.charge(asked)

    async def events(self) -> list[ProcessorEvent]:
        """Every notice so far, read as the zone reads it."""
        await self.world.courier.deliver_due()
        return [event for request in self.world.receiver.requests for event in self.read(request)]

    def read(self, request: httpx.Request) -> Sequence[ProcessorEvent]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return self.processor.read_webhook(headers, request.content, self.world.now)

    async def fault(self, mode: str, operation: str) -> None:
        await self.client.post("/sandbox/faults", json={"mode": mode, "operation": operation})


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with a_pair(tmp_path) as pair:
        yield pair


@asynccontextmanager
async def a_pair(directory: Path) -> AsyncIterator[Pair]:
    world = World(directory / "data")
    async with served(world.app) as base_url:
        processor = SandboxProcessor(base_url, API_KEY, WEBHOOK_SECRET)
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False) as client:
            yield Pair(world, processor, client)
        await processor.close()
    world.store.close()


def asked(
    kind: ModificationKind, reference: str = "mod_a", amount_minor: int | None = None, **changes: Any
) -> ProcessorModification:
    fields = {"charge": "chg_a", "processor_charge": None, **changes}
    return ProcessorModification(
        reference, kind, "shop", amount=None if amount_minor is None else usd(amount_minor), **fields
    )


async def test_it_declares_every_feature(pair: Pair) -> None:
    assert pair.processor.features == frozenset(Feature)


async def test_an_authorization_is_captured_in_parts_and_its_record_says_how_much(pair: Pair) -> None:
    made = await pair.charge(capture=False)
    assert (made.outcome, made.captured_minor) == (Outcome.AUTHORIZED, None)
    assert made.network_reference is not None
    first = await pair.processor.modify(
        asked(CAPTURE, "mod_a", 400, processor_charge=made.processor_charge, is_final=False)
    )
    found = await pair.processor.find("chg_a")
    second = await pair.processor.modify(asked(CAPTURE, "mod_b"))
    whole = await pair.processor.find("chg_a")
    assert first.outcome is second.outcome is ModificationOutcome.SUCCEEDED
    assert (found and found.outcome, found and found.captured_minor) == (Outcome.SUCCEEDED, 400)
    assert (whole and whole.outcome, whole and whole.captured_minor) == (Outcome.SUCCEEDED, None)


async def test_a_final_capture_lets_the_rest_go(pair: Pair) -> None:
    await pair.charge(capture=False)
    assert (await pair.processor.modify(asked(CAPTURE, "mod_a", 400))).outcome is ModificationOutcome.SUCCEEDED
    late = await pair.processor.modify(asked(CAPTURE, "mod_b", 1))
    assert (late.outcome, late.decline_code) == (ModificationOutcome.DECLINED, "already_captured")


@pytest.mark.parametrize("number", [VISA, CHALLENGE])
async def test_a_void_ends_an_authorization_and_a_wait_for_the_shopper(pair: Pair, number: str) -> None:
    await pair.charge(number=number, capture=False)
    assert (await pair.processor.modify(asked(VOID))).outcome is ModificationOutcome.SUCCEEDED
    found = await pair.processor.find("chg_a")
    assert found is not None
    assert (found.outcome, found.action_url) == (Outcome.VOIDED, None)


async def test_an_authorization_that_ran_out_is_known_as_expired(pair: Pair) -> None:
    await pair.charge(capture=False)
    await pair.client.post("/sandbox/expire", json={"reference": "chg_a"})
    found = await pair.processor.find("chg_a")
    assert found is not None
    assert found.outcome is Outcome.EXPIRED
    assert [event.news for event in await pair.events()][-1] == found


@pytest.mark.parametrize(
    ("number", "end"), [(LATE_REFUND, ModificationOutcome.SUCCEEDED), (FAILING_REFUND, ModificationOutcome.DECLINED)]
)
async def test_a_late_refund_is_accepted_and_its_notice_and_record_tell_the_outcome(
    pair: Pair, number: str, end: ModificationOutcome
) -> None:
    await pair.charge(number=number)
    answer = await pair.processor.modify(asked(REFUND, "mod_a", 300))
    assert answer.outcome is ModificationOutcome.ACCEPTED
    assert await pair.processor.find_modification(asked(REFUND, "mod_a", 300)) == answer
    pair.world.now += 2_000
    pair.world.happenings.end_due()
    found = await pair.processor.find_modification(asked(REFUND, "mod_a", 300))
    assert found is not None
    assert (found.outcome, found.processor_reference) == (end, answer.processor_reference)
    told = [event for event in await pair.events() if isinstance(event.news, ModificationNews)]
    assert [event.news for event in told] == [
        ModificationNews(REFUND, "mod_a", answer, usd(300)),
        ModificationNews(REFUND, "mod_a", found, usd(300)),
    ]
    assert {event.reference for event in told} == {"chg_a"}


@pytest.mark.parametrize("kind", [CAPTURE, VOID, REFUND])
@pytest.mark.parametrize(
    ("mode", "outcome", "has_effect"),
    [
        ("drop_before", ModificationOutcome.UNKNOWN, False),
        ("drop_after", ModificationOutcome.UNKNOWN, True),
        ("error_500", ModificationOutcome.UNKNOWN, False),
        ("unavailable", ModificationOutcome.UNKNOWN, False),
    ],
)
async def test_a_lost_reply_is_unknown_the_record_tells_and_asking_again_makes_no_second(
    pair: Pair, kind: ModificationKind, mode: str, outcome: ModificationOutcome, has_effect: bool
) -> None:
    made = await pair.charge(capture=kind is REFUND)
    request = asked(kind, processor_charge=made.processor_charge)
    await pair.fault(mode, kind.value)
    assert (await pair.processor.modify(request)).outcome is outcome
    found = await pair.processor.find_modification(request)
    assert (found is not None) == has_effect
    again = await pair.processor.modify(request)
    assert again.outcome is ModificationOutcome.SUCCEEDED
    assert found in (None, again)
    assert len(pair.world.store.all_modifications()) == 1


@pytest.mark.parametrize("mode", ["drop_before", "error_500", "unavailable"])
async def test_a_record_that_cannot_be_asked_is_unknown_never_absent(pair: Pair, mode: str) -> None:
    await pair.charge()
    await pair.fault(mode, "query_modification")
    assert await pair.processor.find_modification(asked(REFUND)) == ModificationAnswer(ModificationOutcome.UNKNOWN)
    assert await pair.processor.find_modification(asked(REFUND)) is None


async def test_what_cannot_have_left_was_never_sent(pair: Pair) -> None:
    await pair.fault("unavailable", "query")
    unanswered = await pair.processor.modify(asked(REFUND))
    no_charge = await pair.processor.modify(asked(REFUND))
    unknown_id = await pair.processor.modify(asked(REFUND, processor_charge="sbx_ch_none/../../x?y"))
    absent = SandboxProcessor("http://127.0.0.1:1", API_KEY, WEBHOOK_SECRET)
    not_there = await absent.modify(asked(REFUND, processor_charge="sbx_ch_a"))
    await absent.close()
    answers = {unanswered.outcome, no_charge.outcome, unknown_id.outcome, not_there.outcome}
    assert answers == {ModificationOutcome.NEVER_SENT}
    assert pair.world.store.all_modifications() == []


async def test_only_a_failure_of_the_processors_own_may_go_elsewhere(pair: Pair) -> None:
    failed = await pair.charge("chg_a", "4000000000000119")
    refused = await pair.charge("chg_b", "4000000000009995")
    assert (failed.decline_code, failed.may_go_elsewhere) == (DeclineCode.PROCESSING_ERROR, True)
    assert (refused.decline_code, refused.may_go_elsewhere) == (DeclineCode.INSUFFICIENT_FUNDS, False)
    absent = SandboxProcessor("http://127.0.0.1:1", API_KEY, WEBHOOK_SECRET)
    unsent = await Pair(pair.world, absent, pair.client).charge()
    await absent.close()
    assert (unsent.outcome, unsent.may_go_elsewhere) == (Outcome.NEVER_SENT, True)


async def test_a_charge_whose_client_gave_up_is_unknown_and_may_not_go_elsewhere(pair: Pair) -> None:
    pair.world.gate.open()
    answer = await pair.charge(number=TIMEOUT_BEFORE)
    assert (answer.outcome, answer.may_go_elsewhere) == (Outcome.UNKNOWN, False)


async def test_a_charge_that_the_merchant_begins_names_the_purchase_in_which_the_shopper_agreed(pair: Pair) -> None:
    first = await pair.charge("chg_a")
    later = await pair.charge(
        "chg_b", initiator=Initiator.MERCHANT_RECURRING, initial_network_reference=first.network_reference
    )
    without = await pair.charge("chg_c", initiator=Initiator.MERCHANT_UNSCHEDULED)
    assert later.outcome is Outcome.SUCCEEDED
    assert pair.world.store.charges_of("chg_b")[0].initiator == "merchant_recurring"
    assert (without.outcome, without.decline_code, without.may_go_elsewhere) == (
        *(Outcome.NEVER_SENT, "invalid_request", False),
    )


async def test_a_dispute_is_told_from_its_opening_to_its_end(pair: Pair) -> None:
    made = await pair.charge(number=DISPUTED)
    [opened] = [event for event in await pair.events() if isinstance(event.news, DisputeNews)]
    assert isinstance(opened.news, DisputeNews)
    assert (opened.reference, opened.processor_charge) == ("chg_a", made.processor_charge)
    assert (opened.news.state, opened.news.reason) == (DisputeState.NEEDS_RESPONSE, "fraudulent")
    assert (opened.news.amount, opened.news.fee) == (usd(10_00), usd(15_00))
    assert opened.news.evidence_due_ms == pair.world.now + 604_800_000
    path = f"/v1/disputes/{opened.news.processor_dispute}/evidence"
    await pair.client.post(path, json={"text": "winning_evidence"})
    states = [event.news.state for event in await pair.events() if isinstance(event.news, DisputeNews)]
    assert states == [DisputeState.NEEDS_RESPONSE, DisputeState.UNDER_REVIEW, DisputeState.WON]


async def test_a_refund_by_hand_at_the_processor_is_told_without_a_reference_of_ours(pair: Pair) -> None:
    made = await pair.charge()
    await pair.client.post("/sandbox/refunds", json={"reference": "chg_a", "amount_minor": 250})
    event = (await pair.events())[-1]
    assert isinstance(event.news, ModificationNews)
    assert (event.news.reference, event.news.amount) == (None, usd(250))
    assert (event.reference, event.processor_charge) == ("chg_a", made.processor_charge)


async def test_a_payout_is_read_and_says_nothing(pair: Pair) -> None:
    await pair.charge()
    await pair.client.post("/sandbox/payouts")
    await pair.world.courier.deliver_due()
    assert [len(pair.read(request)) for request in pair.world.receiver.requests] == [1, 0]


@pytest.mark.parametrize(
    "spoiled",
    [
        {"kind": "chargeback"},
        {"reference": "4242424242424242"},
        {"charge_reference": "4242424242424242"},
        {"amount_minor": "100"},
        {"amount_minor": -1},
        {"amount_minor": 1.0},
        {"currency": "EURO"},
    ],
)
async def test_a_signed_notice_that_makes_no_sense_is_refused_and_names_nothing(
    pair: Pair, spoiled: dict[str, object]
) -> None:
    body = json.dumps({"id": "sbx_evt_a", "data": {**REFUND_NEWS, **spoiled}}).encode()
    headers = signed(body, pair.world.now // 1000, WEBHOOK_SECRET)
    with pytest.raises(WebhookRefused) as refused:
        pair.processor.read_webhook(headers, body, pair.world.now)
    assert refused.value.__context__ is None


@given(
    st.sampled_from([200, 201, 302, 404, 409, 422, 500, 503]),
    st.sampled_from(
        [
            *(b"", b"[]", b"null", b"<html>", b'{"error":{"code":"internal_error"}}', b'{"error":{"code":[]}}'),
            b'{"kind":"refund","reference":"mod_other","status":"succeeded"}',
            b'{"kind":"capture","reference":"mod_a","status":"succeeded"}',
            b'{"kind":"refund","reference":"mod_a","status":"strange"}',
            *(b'{"modifications":{}}', b'{"modifications":[1]}', b'{"error":{"code":"unavailable"}}'),
        ]
    ),
)
def test_an_answer_that_is_not_the_one_asked_for_is_unknown(status: int, body: bytes) -> None:
    answer = httpx.Response(status, content=body)
    assert _read_modification_answer(answer, asked(REFUND)).outcome is ModificationOutcome.UNKNOWN
    listed = _read_modification_list(answer, asked(REFUND))
    assert listed is not None
    assert listed.outcome is ModificationOutcome.UNKNOWN
