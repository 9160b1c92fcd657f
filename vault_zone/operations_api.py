"""Operations over HTTP: ask, look, approve, refuse. An operation of a merchant one may not touch is one that does not exist."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tokenization.wire import Identifier, Wire
from vault_zone import operations
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.operations import Act, AlreadyMoved, Operation, OperationState
from vault_zone.roles import Verb
from vault_zone.runtime import Zone

router = APIRouter(prefix="/v1/operations")
Subject = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,79}$")]


class RequestOperation(Wire):
    """What is asked for. Without a merchant it concerns every merchant."""

    act: Act
    merchant: Identifier | None = None
    subject: Subject | None = None
    grounds: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")] | None = None


class OperationView(BaseModel):
    """An operation as operators see it."""

    operation: str
    act: Act
    merchant: str | None
    subject: str | None
    state: OperationState
    reason: str | None
    requested_by: str
    decided_by: str | None
    requested_ms: int
    expires_ms: int
    decided_ms: int | None
    ended_ms: int | None
    grounds: str | None


class OperationList(BaseModel):
    """The newest first."""

    operations: list[OperationView]


@router.post("", status_code=201)
async def post_operation(
    asked: RequestOperation, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.REQUEST_OPERATION)]
) -> OperationView:
    """Asks for a dangerous act. It is done only when another operator approves it within an hour."""
    actor = operations.require_for(caller, asked.act, asked.merchant)
    if asked.act not in zone.executors:
        raise ZoneRefusal(ZoneError.ACT_NOT_AVAILABLE)
    made = await zone.database.change(
        lambda tx: operations.request(tx, asked.act, asked.merchant, asked.subject, actor, asked.grounds)
    )
    return _view(made)


@router.get("")
async def get_operations(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_OPERATIONS)]) -> OperationList:
    """The operations of the merchants that the caller may touch."""
    found = await zone.database.read(operations.newest)
    return OperationList(operations=[_view(one) for one in found if caller.may_touch(one.merchant)])


@router.post("/{operation}/approve")
async def post_approval(
    operation: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.APPROVE_OPERATION)]
) -> OperationView:
    """Approves what another operator asked for, and has it carried out. ``approved`` in the answer: it will be, shortly."""
    wanted = await _visible(zone, caller, operation)
    actor = operations.require_for(caller, wanted.act, wanted.merchant)
    if actor == wanted.requested_by:
        await zone.database.change(lambda tx: operations.record_own_approval(tx, wanted, actor))
        raise ZoneRefusal(ZoneError.SECOND_PERSON_NEEDED)
    if not operations.requester_still_may(zone, wanted):
        raise ZoneRefusal(ZoneError.OPERATION_NOT_OPEN)
    try:
        approved = await zone.database.change(lambda tx: operations.approve(tx, wanted, actor))
    except AlreadyMoved:
        raise ZoneRefusal(ZoneError.OPERATION_NOT_OPEN) from None
    return _view(await operations.carry_out(zone, approved))


@router.post("/{operation}/refuse")
async def post_refusal(
    operation: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.APPROVE_OPERATION)]
) -> OperationView:
    """Refuses an operation, or takes back one's own."""
    wanted = await _visible(zone, caller, operation)
    actor = operations.require_for(caller, wanted.act, wanted.merchant)
    try:
        return _view(await zone.database.change(lambda tx: operations.refuse(tx, wanted, actor)))
    except AlreadyMoved:
        raise ZoneRefusal(ZoneError.OPERATION_NOT_OPEN) from None


async def _visible(zone: Zone, caller: Permitted, operation: str) -> Operation:
    found = await zone.database.read(lambda connection: operations.find(connection, operation))
    if found is None or not caller.may_touch(found.merchant):
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


def _view(one: Operation) -> OperationView:
    fields = asdict(one)
    return OperationView(operation=fields.pop("id"), **fields)
