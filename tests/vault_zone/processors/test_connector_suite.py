"""The contract suite finds what it is there to find: a connector with one fault fails it, in the test that names the fault."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import stripe

from tests.vault_zone.processors.connector_suite import ConnectorSuite, Counterpart
from tests.vault_zone.processors.fault_proxy import Fault
from tests.vault_zone.processors.localstripe import MISSING, PYTHON, TEST_KEY, localstripe
from tests.vault_zone.processors.test_stripe import SECRET, StripeCounterpart, stripe_counterpart
from tokenization.ids import new_id
from vault_zone.card import Exposure
from vault_zone.processors.port import (
    ModificationAnswer,
    ModificationOutcome,
    Outcome,
    ProcessorAnswer,
    ProcessorCharge,
    ProcessorEvent,
    ProcessorModification,
)
from vault_zone.processors.stripe_connector import StripeProcessor
from vault_zone.processors.stripe_webhooks import read_event

SUITE = ConnectorSuite()


class _RetriesUnderAnotherKey(StripeProcessor):
    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        answer = await super().charge(request)
        if answer.outcome is Outcome.UNKNOWN:
            await super().charge(replace(request, reference=new_id("chg")))
            return await super().charge(replace(request, reference=request.reference))
        return answer


class _TakesSilenceForNo(StripeProcessor):
    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        answer = await super().charge(request)
        return ProcessorAnswer(Outcome.NEVER_SENT) if answer.outcome is Outcome.UNKNOWN else answer


class _FindsNothing(StripeProcessor):
    async def find(self, reference: str, processor_charge: str | None = None, begun_ms: int | None = None) -> None:
        return None


class _KeyOfTheAttempt(StripeProcessor):
    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        intents: Any = self._client.v1.payment_intents
        original = type(intents).create_async
        intents.create_async = lambda asked, _: original(intents, asked, {"idempotency_key": new_id("try")})
        return await super().charge(request)


class _KeyOfTheAmount(StripeProcessor):
    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        amount = request.amount.amount_minor if request.amount else 0
        return await super().modify(replace(request, reference=f"mod_{request.kind}_{amount}"))


class _BelievesEveryNotice(StripeProcessor):
    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        header = stripe.WebhookSignature.generate_signature_header(
            body.decode("utf-8", "replace"), SECRET, now_ms // 1000
        )
        return read_event(SECRET, header, body, now_ms)


class _TakesOldNotices(StripeProcessor):
    def read_webhook(self, headers: dict[str, str], body: bytes, now_ms: int) -> Sequence[ProcessorEvent]:
        sent_at = int(headers.get("stripe-signature", "t=0,").split(",")[0].removeprefix("t=") or 0)
        return read_event(SECRET, headers.get("stripe-signature", ""), body, sent_at * 1000)


class _LogsTheCard(StripeProcessor):
    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        logging.getLogger("stripe.planted").debug("charging %s", request.card.pan.expose(Exposure.PROCESSOR))
        return await super().charge(request)


class _Raises(StripeProcessor):
    async def charge(self, request: ProcessorCharge) -> ProcessorAnswer:
        answer = await super().charge(request)
        if answer.outcome is Outcome.UNKNOWN:
            raise ConnectionError
        return answer


class _SaysDone(StripeProcessor):
    async def modify(self, request: ProcessorModification) -> ModificationAnswer:
        answer = await super().modify(request)
        if answer.outcome is ModificationOutcome.DECLINED:
            return ModificationAnswer(ModificationOutcome.SUCCEEDED)
        return answer


Check = Callable[[Counterpart], Awaitable[None]]
PLANTED: list[tuple[type[StripeProcessor], Check]] = [
    (
        _RetriesUnderAnotherKey,
        lambda c: SUITE.test_a_charge_whose_answer_is_lost_is_unknown_until_the_record_or_a_notice_tells(
            c, Fault.LOSE_REPLY
        ),
    ),
    (
        _TakesSilenceForNo,
        lambda c: SUITE.test_a_charge_whose_answer_is_lost_is_unknown_until_the_record_or_a_notice_tells(
            c, Fault.GARBAGE
        ),
    ),
    (
        _FindsNothing,
        lambda c: SUITE.test_a_charge_whose_answer_is_lost_is_unknown_until_the_record_or_a_notice_tells(
            c, Fault.NONSENSE
        ),
    ),
    (_FindsNothing, SUITE.test_what_cannot_be_reached_was_never_sent_and_another_processor_may_be_asked),
    (_KeyOfTheAttempt, SUITE.test_the_same_charge_asked_again_is_the_same_charge),
    (_KeyOfTheAmount, SUITE.test_two_equal_refunds_are_two_and_one_asked_twice_is_one),
    (_BelievesEveryNotice, SUITE.test_a_forged_or_garbled_notice_is_refused),
    (_TakesOldNotices, SUITE.test_a_stale_notice_is_refused_where_its_age_is_signed),
    (_Raises, SUITE.test_a_processor_that_broke_down_leaves_the_charge_unknown),
    (_SaysDone, SUITE.test_more_than_was_captured_is_not_refunded),
    (_SaysDone, SUITE.test_more_than_was_authorized_is_not_captured),
]


@pytest.fixture(scope="module")
def stripe_url() -> Iterator[str]:
    """A localstripe; a skip where it is not installed."""
    if not PYTHON.is_file():
        pytest.skip(MISSING)
    with localstripe() as url:
        yield url


@pytest.fixture
async def counterpart(stripe_url: str) -> AsyncIterator[StripeCounterpart]:
    async with stripe_counterpart(stripe_url) as made:
        yield made


def planted(counterpart: StripeCounterpart, faulty: type[StripeProcessor]) -> StripeCounterpart:
    """The counterpart with a faulty connector in front of it."""
    counterpart.at = lambda url: faulty(TEST_KEY, SECRET, api_base=url, timeout_seconds=5.0)  # type: ignore[method-assign]
    counterpart.processor = counterpart.at(counterpart.url)
    return counterpart


@pytest.mark.anyio
@pytest.mark.parametrize(("faulty", "check"), PLANTED, ids=[faulty.__name__ for faulty, _ in PLANTED])
async def test_a_connector_with_a_fault_fails_the_suite(
    counterpart: StripeCounterpart, faulty: type[StripeProcessor], check: Check
) -> None:
    was: Any = counterpart.processor
    with pytest.raises((AssertionError, ConnectionError, pytest.fail.Exception)):
        await check(planted(counterpart, faulty))
    await was.close()


@pytest.mark.anyio
async def test_a_connector_that_logs_the_card_fails_the_suite(
    counterpart: StripeCounterpart, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    was: Any = counterpart.processor
    with pytest.raises(AssertionError):
        await SUITE.test_no_card_number_is_in_an_answer_a_log_or_on_the_terminal(
            planted(counterpart, _LogsTheCard), caplog, capfd
        )
    caplog.clear()
    await was.close()
