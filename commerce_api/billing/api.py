"""Saves and bookings over the agents' API. Sales are not reported: they follow from orders."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select
from sqlalchemy.engine import Row

from audit.transaction import Transaction
from commerce_api.agents_api import AgentIn, CommerceIn
from commerce_api.billing.outcomes import Reported, find_reported, report, reverse
from commerce_api.billing.rating import Reversal
from commerce_api.brands import find_brand
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.idempotency import once
from commerce_api.models import billed_outcome, billing_line
from commerce_api.orders import find_order
from commerce_api.schemas import Given, MoneyView
from commerce_api.views import money_view
from tokenization.clock import as_text
from tokenization.ids import digest, is_id
from tokenization.wire import Identifier

router = APIRouter(prefix="/agents/v1/{brand}/outcomes", tags=["outcomes"])
KeyIn = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


class OutcomeGiven(Given):
    """What an agent brought about. ``conversation`` is the SHA-256 of its transcript, which the brand keeps, in letters: its
    hex digits as ``bcdfghjkmnpqrstv``, because digits in a row may read like a card. ``reference`` tells several of one
    conversation apart.
    """

    type: Literal["save", "booking"]
    conversation: Annotated[str, Field(pattern="^[bcdfghjkmnpqrstv]{64}$")]
    value_minor: Annotated[int, Field(ge=0, le=10**11)] = 0
    decision: Annotated[str, Field(max_length=40)] | None = None
    order: Annotated[str, Field(max_length=40)] | None = None
    reference: Identifier | None = None
    at: AwareDatetime | None = None


class ReversalGiven(Given):
    """Why an outcome did not last, and how much of its value; all of it where ``amount_minor`` is left out."""

    reason: Literal["returned", "disputed", "canceled", "mistaken"]
    amount_minor: Annotated[int, Field(gt=0, le=10**11)] | None = None
    at: AwareDatetime | None = None


class LineView(BaseModel):
    """A line of the bill."""

    line_id: str
    kind: str
    amount: MoneyView
    written_at: str


class OutcomeView(BaseModel):
    """An outcome on record. ``ruling`` is ``billed``, or why it is not."""

    outcome_id: str
    type: str
    value: MoneyView
    ruling: str
    contract_version: int | None = None
    happened_at: str
    lines: list[LineView]


@router.post("", status_code=201)
async def post_outcome(
    brand: str, given: OutcomeGiven, commerce: CommerceIn, agent: AgentIn, key: KeyIn
) -> OutcomeView:
    """Reports a save or a booking. The same again, under this key or another, gives the one that is on record."""

    def work(tx: Transaction, reported: Reported) -> dict[str, Any]:
        if given.order is not None:
            find_order(tx.connection, find_brand(tx.connection, brand), given.order, agent)
        if given.decision is not None and not is_id(given.decision, "off"):
            raise CommerceRefusal(CommerceError.OFFER_UNKNOWN)
        return _view(tx, brand, report(tx, brand, reported, agent.principal).id).model_dump(mode="json")

    def unit(tx: Transaction) -> dict[str, Any]:
        at_ms = _moment(given.at) if given.at is not None else tx.now_ms
        evidence = (given.decision, given.conversation, given.order, given.reference)
        reported = Reported(given.type, given.value_minor, at_ms, *evidence)
        known = find_reported(tx, brand, reported)
        if known is not None:
            return _view(tx, brand, known.id).model_dump(mode="json")
        scope = f"{brand}|{agent.principal}|post_outcome"
        request = given.model_dump(mode="json", include=given.model_fields_set)
        return once(tx, scope=scope, key=key, request=request, work=lambda: work(tx, reported))

    return OutcomeView.model_validate(await commerce.database.change(unit))


@router.get("/{outcome}")
async def get_outcome(brand: str, outcome: str, commerce: CommerceIn, _: AgentIn) -> OutcomeView:
    """An outcome with the lines that came of it."""
    return await commerce.database.read(lambda connection: _view(Transaction(connection, 0), brand, outcome))


@router.post("/{outcome}/reversals", status_code=201)
async def post_reversal(
    brand: str, outcome: str, given: ReversalGiven, commerce: CommerceIn, agent: AgentIn, key: KeyIn
) -> OutcomeView:
    """Part of a save or a booking, or all of it, did not last. A key stands for one reversal, for good."""

    def work(tx: Transaction) -> OutcomeView:
        row = _find(tx, brand, outcome)
        if row.type == "sale":
            raise CommerceRefusal(CommerceError.OUTCOME_FOLLOWS_ORDER)
        at_ms = _moment(given.at) if given.at is not None else tx.now_ms
        if not row.at_ms <= at_ms <= tx.now_ms:
            raise CommerceRefusal(CommerceError.INVALID_REQUEST)
        reverse(tx, row, Reversal(f"said:{digest(key)}", given.amount_minor, at_ms), given.reason, agent.principal)
        return _view(tx, brand, row.id)

    return await commerce.database.change(work)


def _moment(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _find(tx: Transaction, brand: str, outcome: str) -> "Row[Any]":
    row = None
    if is_id(outcome, "bot"):
        of = (billed_outcome.c.id == outcome, billed_outcome.c.brand == brand)
        row = tx.execute(select(billed_outcome).where(*of)).first()
    if row is None:
        raise CommerceRefusal(CommerceError.OUTCOME_UNKNOWN)
    return row


def _view(tx: Transaction, brand_id: str, outcome: str) -> OutcomeView:
    brand, row = find_brand(tx.connection, brand_id), _find(tx, brand_id, outcome)
    lines = tx.execute(
        select(billing_line)
        .where(billing_line.c.outcome == row.id)
        .order_by(billing_line.c.recorded_ms, billing_line.c.source, billing_line.c.place)
    )
    return OutcomeView(
        outcome_id=row.id,
        type=row.type,
        value=money_view(row.value_minor, brand.currency),
        ruling=row.ruling,
        contract_version=row.contract_version,
        happened_at=as_text(row.at_ms),
        lines=[
            LineView(
                line_id=line.id,
                kind=line.kind,
                amount=money_view(line.amount_minor, line.currency),
                written_at=as_text(line.recorded_ms),
            )
            for line in lines
        ],
    )
