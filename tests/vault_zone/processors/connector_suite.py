"""What any connector has to pass: the port's promises, as tests against a counterpart that keeps a record (docs/connectors.md).

A connector's author writes a Counterpart, the few things that differ between processors, and a class:

    class TestOurs(ConnectorSuite):
        @pytest.fixture
        async def counterpart(self): ...   # yields a Counterpart with nothing in its record

The counterpart stands behind a FaultProxy, so that replies are lost after the effect. What a connector does not declare as a
feature it must refuse without sending; what its processor cannot be asked must end by a notice.
"""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.vault_zone.processors.fault_proxy import EFFECTIVE, Fault
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.world import a_card, usd
from tokenization.ids import new_id
from tokenization.wire import ModificationKind
from vault_zone.card import Cvc
from vault_zone.processors.port import (
    Feature,
    ModificationAnswer,
    ModificationNews,
    ModificationOutcome,
    Outcome,
    Processor,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
    WebhookRefused,
)

CVC = "737"
MERCHANT = "harbour-pine"
AMOUNT = 10_905
Notice = tuple[dict[str, str], bytes]


class Meant(StrEnum):
    """What a test card is to do."""

    SUCCEED = "succeed"
    DECLINE = "decline"
    DECLINE_ELSEWHERE = "decline_elsewhere"  # for a reason of the way to the issuer: another processor may be asked
    CHALLENGE = "challenge"


class Counterpart(ABC):
    """A processor's record, with the connector under test in front of it.

    ``has_dated_webhooks``: a notice's age is under its signature.
    """

    processor: Processor
    now_ms: int
    cards: ClassVar[dict[Meant, str]]
    has_dated_webhooks: ClassVar[bool] = True

    @abstractmethod
    def fault(self, fault: Fault) -> None:
        """What the next request that moves money will meet."""

    @abstractmethod
    def at(self, url: str) -> Processor:
        """The connector, for a counterpart at another address."""

    @abstractmethod
    async def charges(self, reference: str) -> int:
        """How many charges hold or took money under our reference, by the processor's own record."""

    @abstractmethod
    async def moved(self, reference: str) -> tuple[int, int]:
        """What was captured and what was refunded of a charge, by the processor's own record."""

    @abstractmethod
    async def notices(self, at_ms: int | None = None) -> Sequence[Notice]:
        """Everything that the processor has to tell so far, in order, signed as sent at that time (now)."""

    @abstractmethod
    async def authenticate(self, reference: str, *, success: bool) -> None:
        """The shopper comes back from the bank."""


def a_charge(counterpart: Counterpart, meant: Meant = Meant.SUCCEED, **other: Any) -> ProcessorCharge:
    """A charge on a card that is meant to do this."""
    fields: dict[str, Any] = {
        "reference": new_id("chg"),
        "merchant": MERCHANT,
        "amount": usd(AMOUNT),
        "card": a_card(counterpart.cards[meant]),
        "cvc": Cvc.parse(CVC, None),
        "return_url": "https://shop.example/return",
        **other,
    }
    return ProcessorCharge(**fields)


def a_modification(
    charge: ProcessorCharge,
    answer: ProcessorAnswer,
    kind: ModificationKind,
    amount_minor: int | None = None,
    **other: Any,
) -> ProcessorModification:
    """A capture, void or refund of a charge that was answered so."""
    amount = None if amount_minor is None else usd(amount_minor)
    fields: dict[str, Any] = {
        "reference": new_id("mod"),
        "kind": kind,
        "merchant": MERCHANT,
        "charge": charge.reference,
        "processor_charge": answer.processor_charge,
        "amount": amount,
        **other,
    }
    return ProcessorModification(**fields)


async def events(counterpart: Counterpart) -> list[ProcessorEvent]:
    """Every notice so far, read by the connector."""
    return [
        event
        for headers, body in await counterpart.notices()
        for event in counterpart.processor.read_webhook(headers, body, counterpart.now_ms)
    ]


async def outcome_of(counterpart: Counterpart, charge: ProcessorCharge) -> ProcessorAnswer:
    """How a charge of which no answer came ended: by the record where there is one, else by the notices."""
    if Feature.QUERY in counterpart.processor.features:
        found = await counterpart.processor.find(charge.reference, None, counterpart.now_ms)
        assert found is not None
        return found
    told = [event.news for event in await events(counterpart) if event.reference == charge.reference]
    return [news for news in told if isinstance(news, ProcessorAnswer)][-1]


async def end_of(
    counterpart: Counterpart, request: ProcessorModification, answer: ModificationAnswer | None
) -> ModificationAnswer:
    """How a modification ended: by the answer, by the record, or by the notice where neither can tell."""
    open_ = (None, ModificationOutcome.UNKNOWN, ModificationOutcome.ACCEPTED)
    if (answer.outcome if answer else None) not in open_:
        assert answer is not None
        return answer
    if Feature.QUERY in counterpart.processor.features:
        found = await counterpart.processor.find_modification(request)
        assert found is not None
        return found
    told = [event.news for event in await events(counterpart)]
    mine = [n.answer for n in told if isinstance(n, ModificationNews) and n.reference == request.reference]
    return mine[-1]


class Answering:
    """A server that says one thing to everything."""

    def __init__(self, status: int, body: bytes) -> None:
        self.response = Response(body, status, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await self.response(scope, receive, send)


NOTHING_DEFINITE = [
    (200, b""),
    (200, b"[]"),
    (200, b"1"),
    (200, b"<html></html>"),
    (200, b'{"id":[],"status":{},"object":null,"resultCode":7}'),
    (200, b"[" * 50_000),
    (200, b"\xff\xfe"),
    (302, b"{}"),
    (402, b'{"error":[]}'),
    (422, b'{"errorCode":[]}'),
    (429, b"slow down"),
    (500, b'{"error":{"type":"api_error"}}'),
    (503, b"null"),
]


@pytest.mark.anyio
class ConnectorSuite:
    """The suite. Give it a fixture ``counterpart``."""

    async def test_a_charge_takes_the_money_once_and_says_so(self, counterpart: Counterpart) -> None:
        asked = a_charge(counterpart)
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.SUCCEEDED
        assert answer.processor_charge
        assert await counterpart.charges(asked.reference) == 1
        assert await counterpart.moved(asked.reference) == (AMOUNT, 0)

    async def test_the_same_charge_asked_again_is_the_same_charge(self, counterpart: Counterpart) -> None:
        asked = a_charge(counterpart)
        first = await counterpart.processor.charge(asked)
        again = await counterpart.processor.charge(asked)
        assert again.outcome in (first.outcome, Outcome.UNKNOWN)
        assert await counterpart.charges(asked.reference) == 1

    @pytest.mark.parametrize("fault", EFFECTIVE)
    async def test_a_charge_whose_answer_is_lost_is_unknown_until_the_record_or_a_notice_tells(
        self, counterpart: Counterpart, fault: Fault
    ) -> None:
        asked = a_charge(counterpart)
        counterpart.fault(fault)
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.UNKNOWN
        assert await counterpart.charges(asked.reference) == 1
        assert (await outcome_of(counterpart, asked)).outcome is Outcome.SUCCEEDED

    async def test_a_charge_that_was_lost_on_the_way_is_unknown_and_the_record_has_none(
        self, counterpart: Counterpart
    ) -> None:
        asked = a_charge(counterpart)
        counterpart.fault(Fault.LOSE_REQUEST)
        assert (await counterpart.processor.charge(asked)).outcome is Outcome.UNKNOWN
        assert await counterpart.charges(asked.reference) == 0
        found = await counterpart.processor.find(asked.reference, None, counterpart.now_ms)
        if Feature.QUERY in counterpart.processor.features:
            assert found is None
        else:
            assert found == ProcessorAnswer(Outcome.UNKNOWN)

    async def test_a_processor_that_broke_down_leaves_the_charge_unknown(self, counterpart: Counterpart) -> None:
        counterpart.fault(Fault.SERVER_ERROR)
        assert (await counterpart.processor.charge(a_charge(counterpart))).outcome is Outcome.UNKNOWN

    async def test_what_cannot_be_reached_was_never_sent_and_another_processor_may_be_asked(
        self, counterpart: Counterpart
    ) -> None:
        nowhere = counterpart.at("http://127.0.0.1:1")
        asked = a_charge(counterpart)
        answer = await nowhere.charge(asked)
        assert (answer.outcome, answer.may_go_elsewhere) == (Outcome.NEVER_SENT, True)
        assert await nowhere.find(asked.reference, None, counterpart.now_ms) == ProcessorAnswer(Outcome.UNKNOWN)
        held = ProcessorAnswer(Outcome.AUTHORIZED, "held_somewhere")
        refund = a_modification(asked, held, ModificationKind.REFUND, 1)
        assert (await nowhere.modify(refund)).outcome is ModificationOutcome.NEVER_SENT
        if Feature.PARTIAL_REFUND in nowhere.features:
            found = await nowhere.find_modification(refund)
            assert found is not None
            assert found.outcome is ModificationOutcome.UNKNOWN
        await nowhere.close()

    @pytest.mark.parametrize(("status", "body"), NOTHING_DEFINITE)
    async def test_an_answer_that_says_nothing_never_counts_as_one_and_never_raises(
        self, counterpart: Counterpart, status: int, body: bytes
    ) -> None:
        asked = a_charge(counterpart)
        held = ProcessorAnswer(Outcome.AUTHORIZED, "held_somewhere")
        async with served(Answering(status, body)) as url:
            odd = counterpart.at(url)
            charged = await odd.charge(asked)
            found = await odd.find(asked.reference, None, counterpart.now_ms)
            changed = [await odd.modify(a_modification(asked, held, kind)) for kind in ModificationKind]
            await odd.close()
        # A connector that hands over the card first knows that no charge was asked for.
        assert charged.outcome in (Outcome.UNKNOWN, Outcome.NEVER_SENT)
        assert found == ProcessorAnswer(Outcome.UNKNOWN)
        assert {answer.outcome for answer in changed} <= {ModificationOutcome.UNKNOWN, ModificationOutcome.NEVER_SENT}

    async def test_a_declined_card_takes_nothing_and_has_a_reason(self, counterpart: Counterpart) -> None:
        asked = a_charge(counterpart, Meant.DECLINE)
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.DECLINED
        assert answer.decline_code
        assert answer.may_go_elsewhere is False
        assert await counterpart.charges(asked.reference) == 0

    async def test_a_decline_that_nobody_judged_may_be_asked_elsewhere(self, counterpart: Counterpart) -> None:
        if Meant.DECLINE_ELSEWHERE not in counterpart.cards:
            assert Feature.PARTIAL_REFUND not in counterpart.processor.features, "every full connector tells this apart"
            return
        answer = await counterpart.processor.charge(a_charge(counterpart, Meant.DECLINE_ELSEWHERE))
        assert (answer.outcome, answer.may_go_elsewhere) == (Outcome.DECLINED, True)

    @pytest.mark.parametrize("success", [True, False])
    async def test_a_charge_waits_for_the_shoppers_bank_and_ends_by_its_word(
        self, counterpart: Counterpart, *, success: bool
    ) -> None:
        asked = a_charge(counterpart, Meant.CHALLENGE)
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.ACTION_REQUIRED
        assert answer.action_url is not None
        assert answer.action_url.startswith("http")
        assert await counterpart.charges(asked.reference) == 0
        await counterpart.authenticate(asked.reference, success=success)
        ended = await outcome_of(counterpart, asked)
        assert ended.outcome is (Outcome.SUCCEEDED if success else Outcome.DECLINED)
        assert await counterpart.charges(asked.reference) == int(success)

    async def test_money_is_held_until_it_is_captured_in_part(self, counterpart: Counterpart) -> None:
        asked, held = await self.held(counterpart)
        if held is None:
            return
        assert await counterpart.moved(asked.reference) == (0, 0)
        capture = a_modification(asked, held, ModificationKind.CAPTURE, 4_000)
        ended = await end_of(counterpart, capture, await counterpart.processor.modify(capture))
        assert ended.outcome is ModificationOutcome.SUCCEEDED
        assert await counterpart.moved(asked.reference) == (4_000, 0)

    async def test_more_than_was_authorized_is_not_captured(self, counterpart: Counterpart) -> None:
        asked, held = await self.held(counterpart)
        if held is None:
            return
        capture = a_modification(asked, held, ModificationKind.CAPTURE, AMOUNT + 1)
        ended = await end_of(counterpart, capture, await counterpart.processor.modify(capture))
        assert ended.outcome is ModificationOutcome.DECLINED
        assert await counterpart.moved(asked.reference) == (0, 0)

    async def test_what_is_let_go_is_not_captured_any_more(self, counterpart: Counterpart) -> None:
        asked, held = await self.held(counterpart)
        if held is None:
            return
        void = a_modification(asked, held, ModificationKind.VOID)
        assert (await end_of(counterpart, void, await counterpart.processor.modify(void))).outcome is (
            ModificationOutcome.SUCCEEDED
        )
        capture = a_modification(asked, held, ModificationKind.CAPTURE, AMOUNT)
        ended = await end_of(counterpart, capture, await counterpart.processor.modify(capture))
        assert ended.outcome is ModificationOutcome.DECLINED
        assert await counterpart.charges(asked.reference) == 0

    async def test_two_equal_refunds_are_two_and_one_asked_twice_is_one(self, counterpart: Counterpart) -> None:
        asked, taken = await self.taken(counterpart)
        if taken is None:
            return
        refunds = [a_modification(asked, taken, ModificationKind.REFUND, 1_000) for _ in range(2)]
        for refund in (refunds[0], refunds[1], refunds[0]):
            ended = await end_of(counterpart, refund, await counterpart.processor.modify(refund))
            assert ended.outcome is ModificationOutcome.SUCCEEDED
        assert await counterpart.moved(asked.reference) == (AMOUNT, 2_000)

    async def test_more_than_was_captured_is_not_refunded(self, counterpart: Counterpart) -> None:
        asked, taken = await self.taken(counterpart)
        if taken is None:
            return
        first = a_modification(asked, taken, ModificationKind.REFUND, AMOUNT - 100)
        await end_of(counterpart, first, await counterpart.processor.modify(first))
        second = a_modification(asked, taken, ModificationKind.REFUND, 101)
        ended = await end_of(counterpart, second, await counterpart.processor.modify(second))
        assert ended.outcome is ModificationOutcome.DECLINED
        assert await counterpart.moved(asked.reference) == (AMOUNT, AMOUNT - 100)

    @pytest.mark.parametrize("fault", EFFECTIVE)
    @pytest.mark.parametrize("kind", [ModificationKind.CAPTURE, ModificationKind.VOID, ModificationKind.REFUND])
    async def test_a_modification_whose_answer_is_lost_is_unknown_until_the_record_or_a_notice_tells(
        self, counterpart: Counterpart, kind: ModificationKind, fault: Fault
    ) -> None:
        asked, found = await (self.taken(counterpart) if kind is ModificationKind.REFUND else self.held(counterpart))
        if found is None:
            return
        request = a_modification(asked, found, kind, None if kind is ModificationKind.VOID else 3_000)
        counterpart.fault(fault)
        answer = await counterpart.processor.modify(request)
        assert answer.outcome is ModificationOutcome.UNKNOWN
        assert (await end_of(counterpart, request, answer)).outcome is ModificationOutcome.SUCCEEDED
        again = await counterpart.processor.modify(request)
        assert again.outcome is not ModificationOutcome.DECLINED
        expected = {ModificationKind.CAPTURE: (3_000, 0), ModificationKind.VOID: (0, 0)}
        assert await counterpart.moved(asked.reference) == expected.get(kind, (AMOUNT, 3_000))

    async def test_a_refund_that_was_lost_on_the_way_is_not_in_the_record(self, counterpart: Counterpart) -> None:
        asked, taken = await self.taken(counterpart)
        if taken is None:
            return
        refund = a_modification(asked, taken, ModificationKind.REFUND, 1_000)
        counterpart.fault(Fault.LOSE_REQUEST)
        assert (await counterpart.processor.modify(refund)).outcome is ModificationOutcome.UNKNOWN
        found = await counterpart.processor.find_modification(refund)
        if Feature.QUERY in counterpart.processor.features:
            assert found is None
        else:
            assert found == ModificationAnswer(ModificationOutcome.UNKNOWN)
        assert await counterpart.moved(asked.reference) == (AMOUNT, 0)

    async def test_every_notice_is_read_and_says_which_charge_it_is_about(self, counterpart: Counterpart) -> None:
        asked = a_charge(counterpart)
        answer = await counterpart.processor.charge(asked)
        told = [event for event in await events(counterpart) if isinstance(event.news, ProcessorAnswer)]
        assert [(event.reference, event.news) for event in told][-1:] != []
        assert {event.reference for event in told} == {asked.reference}
        assert {event.processor_charge for event in told} <= {answer.processor_charge, None}

    async def test_a_notice_told_twice_is_known_by_its_id(self, counterpart: Counterpart) -> None:
        await counterpart.processor.charge(a_charge(counterpart))
        once, twice = await events(counterpart), await events(counterpart)
        assert [event.event_id for event in once] == [event.event_id for event in twice]
        assert len({event.event_id for event in once}) == len(once) > 0

    async def test_a_forged_or_garbled_notice_is_refused(self, counterpart: Counterpart) -> None:
        await counterpart.processor.charge(a_charge(counterpart))
        headers, body = (await counterpart.notices())[-1]
        content = json.loads(body)
        changed = json.dumps(content).replace(str(AMOUNT), str(AMOUNT + 1)).replace("chg_", "chx_").encode()
        assert changed != body
        for odd_headers, odd_body in [
            (headers, changed),
            (headers, b""),
            (headers, b"\xff" + body),
            (headers, b"[" * 5_000),
            ({k: v.replace("=", "=\u0663") for k, v in headers.items()}, b"{}"),
            ({}, b"{}"),
        ]:
            with pytest.raises(WebhookRefused):
                counterpart.processor.read_webhook(odd_headers, odd_body, counterpart.now_ms)

    async def test_a_stale_notice_is_refused_where_its_age_is_signed(self, counterpart: Counterpart) -> None:
        await counterpart.processor.charge(a_charge(counterpart))
        for late_ms in (-301_000, 301_000):
            headers, body = (await counterpart.notices(counterpart.now_ms + late_ms))[-1]
            if counterpart.has_dated_webhooks:
                with pytest.raises(WebhookRefused):
                    counterpart.processor.read_webhook(headers, body, counterpart.now_ms)
            else:
                assert counterpart.processor.read_webhook(headers, body, counterpart.now_ms)

    async def test_no_card_number_is_in_an_answer_a_log_or_on_the_terminal(
        self, counterpart: Counterpart, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        said: list[object] = [counterpart.processor]
        for meant in counterpart.cards:
            asked = a_charge(counterpart, meant)
            said += [asked, await counterpart.processor.charge(asked), *await events(counterpart)]
        for fault in Fault:
            counterpart.fault(fault)
            said.append(await counterpart.processor.charge(a_charge(counterpart)))
        echo = json.dumps({"error": {"type": "card_error", "code": counterpart.cards[Meant.SUCCEED]}}).encode()
        async with served(Answering(402, echo)) as url:
            odd = counterpart.at(url)
            said += [await odd.charge(a_charge(counterpart)), await odd.find("chg_a", None, counterpart.now_ms)]
            await odd.close()
        printed = "".join(capfd.readouterr())
        for text in (*map(repr, said), caplog.text, printed):
            assert not any(number in text for number in counterpart.cards.values())

    async def held(self, counterpart: Counterpart) -> tuple[ProcessorCharge, ProcessorAnswer | None]:
        """A charge that is authorized. None where the connector declares no manual capture: a capture is refused then."""
        asked = a_charge(counterpart, capture=False)
        if Feature.MANUAL_CAPTURE not in counterpart.processor.features:
            capture = a_modification(asked, ProcessorAnswer(Outcome.AUTHORIZED, "x"), ModificationKind.CAPTURE, 1)
            assert (await counterpart.processor.modify(capture)).outcome is ModificationOutcome.NEVER_SENT
            return asked, None
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.AUTHORIZED
        assert await counterpart.charges(asked.reference) == 1
        return asked, answer

    async def taken(self, counterpart: Counterpart) -> tuple[ProcessorCharge, ProcessorAnswer | None]:
        """A charge that took money. None where the connector declares no refunds: one is refused then."""
        asked = a_charge(counterpart)
        answer = await counterpart.processor.charge(asked)
        assert answer.outcome is Outcome.SUCCEEDED
        if Feature.PARTIAL_REFUND not in counterpart.processor.features:
            refund = a_modification(asked, answer, ModificationKind.REFUND, 1)
            assert (await counterpart.processor.modify(refund)).outcome is ModificationOutcome.NEVER_SENT
            return asked, None
        return asked, answer
