"""Charges as operators see them: what needs attention, and one charge with everything that was done for it and why."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from tokenization.wire import Charge, ModificationKind, ModificationState
from vault_zone import attention
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.charge_rows import as_charge, charge_row, modification_row
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.models import charge_leg, modification
from vault_zone.roles import Verb
from vault_zone.runtime import Zone

router = APIRouter(prefix="/v1/charges")


class WaitingView(BaseModel):
    """Something that needs attention since then, and why. ``kind``: charge, capture, void or refund."""

    subject: str
    charge: str
    merchant: str
    kind: str
    state: str
    reason: str
    since_ms: int


class WaitingList(BaseModel):
    """The oldest first."""

    waiting: list[WaitingView]


class LegView(BaseModel):
    """One processor that the charge was sent to, and why that one. ``outcome`` is null while it is under way."""

    leg: int
    processor: str
    reason: str
    rule: str | None
    outcome: str | None
    decline_code: str | None
    started_ms: int
    ended_ms: int | None


class ModificationView(BaseModel):
    """A capture, void or refund. ``is_ours``: asked for through Cordon, and not at the processor."""

    modification: str
    kind: ModificationKind
    state: ModificationState
    amount_minor: int | None
    is_final: bool
    is_ours: bool
    reason: str | None
    decline_code: str | None
    attention: str | None
    intended_ms: int


class ChargeStory(BaseModel):
    """A charge with its legs and modifications."""

    charge: Charge
    capture: str
    initiator: str
    attention: str | None
    attention_ms: int | None
    capturing_minor: int
    refunding_minor: int
    intended_ms: int
    legs: list[LegView]
    modifications: list[ModificationView]


@router.get("/attention")
async def get_attention(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_CHARGES)]) -> WaitingList:
    """What needs attention, of the merchants that the caller may touch."""
    found = await zone.database.read(attention.waiting)
    return WaitingList(waiting=[WaitingView(**one._asdict()) for one in found if caller.may_touch(one.merchant)])


@router.get("/{charge}")
async def get_story(charge: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_CHARGES)]) -> ChargeStory:
    """A charge by its id, or by that of one of its modifications."""
    story, merchant = await zone.database.read(lambda connection: _story(connection, zone, charge))
    if story is None or not caller.may_touch(merchant):
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return story


def _story(connection: Connection, zone: Zone, subject: str) -> tuple[ChargeStory | None, str]:
    changed = modification_row(connection, subject)
    row = charge_row(connection, changed.charge_id if changed is not None else subject)
    if row is None:
        return None, ""
    legs = connection.execute(select(charge_leg).where(charge_leg.c.charge_id == row.id).order_by(charge_leg.c.leg))
    acts = select(modification).where(modification.c.charge_id == row.id).order_by(modification.c.intended_ms)
    story = ChargeStory(
        charge=as_charge(row, zone.processors),
        capture=row.capture,
        initiator=row.initiator,
        attention=row.attention,
        attention_ms=row.attention_ms,
        capturing_minor=row.capturing_minor,
        refunding_minor=row.refunding_minor,
        intended_ms=row.intended_ms,
        legs=[_leg(leg) for leg in legs],
        modifications=[_act(act) for act in connection.execute(acts)],
    )
    return story, row.merchant


def _leg(row: "Row[Any]") -> LegView:
    return LegView(**{name: getattr(row, name) for name in LegView.model_fields})


def _act(row: "Row[Any]") -> ModificationView:
    fields = {name: getattr(row, name) for name in ModificationView.model_fields if name != "modification"}
    return ModificationView(modification=row.id, **fields)
